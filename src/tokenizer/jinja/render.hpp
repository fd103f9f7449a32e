// Runs a chat template's syntax tree.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/ast.hpp"

namespace sluice::tokenizer::jinja {

// Throws Error(unsupported) for what is not known or takes too many steps, and Error(user) for what
// the template rejects.
std::string render(const Block& block, std::vector<std::pair<std::string, Value>> variables);

}  // namespace sluice::tokenizer::jinja
