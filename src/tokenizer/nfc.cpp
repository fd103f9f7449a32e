#include "tokenizer/nfc.hpp"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "base/fail.hpp"

namespace sluice::tokenizer {

std::string nfc(std::string_view text) {
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (bytes < 0) {
    fail(ErrorKind::user, "text of {} bytes cannot be brought into Unicode form C: {}", text.size(),
         utf8proc_errmsg(bytes));
  }
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(bytes)};
}

}  // namespace sluice::tokenizer
