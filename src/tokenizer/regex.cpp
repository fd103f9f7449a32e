#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.hpp"

#include <pcre2.h>

#include <array>
#include <cstdint>
#include <ctime>

#include "base/fail.hpp"
#include "tokenizer/regex_dialect.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

// One match may try this many steps: seconds at worst, and far above what a linear pattern needs
// on the longest text that the heap limit admits.
constexpr std::uint32_t kMatchLimit = 20'000'000;
constexpr std::uint32_t kHeapLimitKib = 256 * 1024;
// All matches in one text together, in processor time. Patterns with long lookaheads (digits
// grouped from the right) are quadratic in the length of a run: 20 s are about 100,000 digits.
constexpr double kMaxSeconds = 20;
constexpr std::size_t kMatchesPerClockReading = 256;
constexpr std::size_t kJitStackStart = 32 * 1024;
constexpr std::size_t kJitStackLimit = 16 * 1024 * 1024;
constexpr std::uint32_t kMaxNesting = 250;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using CodePointer = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

PCRE2_SPTR code_units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  CodePointer pattern;
};

namespace {

// What a thread needs to match anything: made once, because words are many and short.
struct Matcher {
  MatchData data{pcre2_match_data_create(1, nullptr)};
  MatchContext context{pcre2_match_context_create(nullptr)};
  JitStack stack{pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr)};

  Matcher() {
    if (!data || !context) fail(ErrorKind::device, "out of memory for a regular expression");
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

Matcher& matcher() {
  thread_local Matcher instance;
  return instance;
}

}  // namespace

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  const std::string translated = pcre2_pattern(pattern);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_bsr(context.get(), PCRE2_BSR_UNICODE);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // No automatic possessive quantifiers: PCRE2 10.42 takes \n*(?>(?:\d\d)?)\s for \n*+…, which
  // misses matches.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS;
  auto code = std::make_shared<Code>();
  code->pattern.reset(pcre2_compile(code_units(translated), translated.size(), kOptions, &error,
                                    &offset, context.get()));
  if (!code->pattern) {
    fail(ErrorKind::unsupported, "regular expression {}: PCRE2 refuses it: {}", shown(pattern_),
         message_of(error));
  }
  // Where there is no JIT, matching is slower and the same.
  pcre2_jit_compile(code->pattern.get(), PCRE2_JIT_COMPLETE);
  code_ = std::move(code);
}

void Regex::split(std::string_view text, std::vector<Span>& spans) const {
  if (text.empty()) return;
  const Matcher& matcher = tokenizer::matcher();
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(matcher.data.get());

  const auto give_up = [&](std::size_t at, const std::string& why) {
    fail(ErrorKind::unsupported,
         "regular expression {} gave up at byte {} of a text of {} bytes: {} (limits: {} steps, "
         "{} MiB, {} s); tokenize the text in smaller parts",
         shown(pattern_), at, text.size(), why, kMatchLimit, kHeapLimitKib / 1024, kMaxSeconds);
  };

  double deadline = 0;
  std::size_t searches = 0;
  std::size_t done = 0;    // where the next span begins
  std::size_t search = 0;  // where the search goes on
  bool after_match = false;
  while (search <= text.size()) {
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(code_->pattern.get(), code_units(text), text.size(), search,
                         options | PCRE2_NO_UTF_CHECK, matcher.data.get(), matcher.context.get());
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) give_up(search, message_of(result));
    if (++searches % kMatchesPerClockReading == 0) {
      const double now = thread_seconds();
      if (deadline == 0) deadline = now + kMaxSeconds;
      if (now > deadline) give_up(search, "it takes too long");
    }
    const std::size_t begin = ends[0];
    const std::size_t end = ends[1];
    // \K is refused and lookbehinds take no characters, so begin >= search and end >= begin.
    if (begin == end && after_match && end == done) {  // no empty match right after a match
      if (search == text.size()) break;
      search += utf8_at(text, search).bytes;
      continue;
    }
    if (done != begin) spans.push_back({done, begin, false});
    spans.push_back({begin, end, true});
    done = search = end;
    after_match = true;
  }
  if (done != text.size()) spans.push_back({done, text.size(), false});
}

}  // namespace sluice::tokenizer
