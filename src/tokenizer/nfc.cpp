#include "tokenizer/nfc.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/fail.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

using CodePoint = utf8proc_int32_t;

constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

utf8proc_propval_t combining_class(CodePoint code) {
  return utf8proc_get_property(code)->combining_class;
}

[[noreturn]] void refuse(std::size_t bytes, utf8proc_ssize_t error) {
  fail(ErrorKind::user, "text of {} bytes cannot be brought into Unicode form C: {}", bytes,
       utf8proc_errmsg(error));
}

std::vector<CodePoint> decomposed(std::string_view text) {
  std::vector<CodePoint> codes;
  codes.reserve(text.size());
  std::array<CodePoint, 32> parts{};  // of one character: at most four
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    if (!c.valid) refuse(text.size(), UTF8PROC_ERROR_INVALIDUTF8);
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<CodePoint>(c.code), parts.data(), parts.size(), kOptions, nullptr);
    if (count < 0) refuse(text.size(), count);
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
    i += c.bytes;
  }
  return codes;
}

// utf8proc's own exchanges neighbours until all are in order: a megabyte of marks takes minutes.
void order_marks(std::vector<CodePoint>& codes) {
  const auto is_mark = [](CodePoint code) { return combining_class(code) != 0; };
  const auto lower = [](CodePoint a, CodePoint b) {
    return combining_class(a) < combining_class(b);
  };
  for (auto begin = codes.begin(); begin != codes.end();) {
    begin = std::find_if(begin, codes.end(), is_mark);
    const auto end = std::find_if_not(begin, codes.end(), is_mark);
    if (!std::is_sorted(begin, end, lower)) std::stable_sort(begin, end, lower);
    begin = end;
  }
}

}  // namespace

std::string nfc(std::string_view text) {
  std::vector<CodePoint> codes = decomposed(text);
  order_marks(codes);
  const utf8proc_ssize_t count =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kOptions);
  if (count < 0) refuse(text.size(), count);
  std::string composed;
  composed.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(composed, static_cast<char32_t>(codes[static_cast<std::size_t>(i)]));
  }
  return composed;
}

}  // namespace sluice::tokenizer
