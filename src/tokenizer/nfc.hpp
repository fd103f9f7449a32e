// Unicode normalization form C: canonical decomposition, ordering of marks, composition.
#pragma once

#include <string>
#include <string_view>

namespace sluice::tokenizer {

// `text` is valid UTF-8; throws Error(user) if it is not.
std::string nfc(std::string_view text);

}  // namespace sluice::tokenizer
