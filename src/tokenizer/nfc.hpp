// Unicode normalization form C: canonical decomposition, ordering of marks, composition.
#pragma once

#include <string>
#include <string_view>

namespace sluice::tokenizer {

std::string nfc(std::string_view text);  // valid UTF-8

}  // namespace sluice::tokenizer
