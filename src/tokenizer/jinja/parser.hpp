// From a chat template's source to its syntax tree.
#pragma once

#include <string_view>

#include "tokenizer/jinja/ast.hpp"

namespace sluice::tokenizer::jinja {

// Throws Error(unsupported) naming the construct and its line.
Block parse(std::string_view source);

}  // namespace sluice::tokenizer::jinja
