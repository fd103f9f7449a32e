// What runs, and is not what the model was made for: the user is told, once.
#pragma once

#include <cstdint>
#include <sluice/model.hpp>
#include <string_view>

namespace sluice::cli {

// On standard error, where `tokens` and the `more` that may follow them are longer than the model
// was made for. `what` has the tokens; `advice` says what makes it shorter.
void warn_beyond_positions(const ModelDescription& model, std::string_view what,
                           std::int64_t tokens, std::int64_t more, std::string_view advice);

}  // namespace sluice::cli
