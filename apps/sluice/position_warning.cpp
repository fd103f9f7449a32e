#include "position_warning.hpp"

#include <fmt/format.h>

#include "output/to_stderr.hpp"

namespace sluice::cli {

void warn_beyond_positions(const ModelDescription& model, std::string_view what,
                           std::int64_t tokens, std::int64_t more, std::string_view advice) {
  // A difference: `more` may be as large as a number can be.
  if (!model.max_positions || more <= *model.max_positions - tokens) return;
  to_stderr(fmt::format(
      "sluice: warning: {} has {} tokens{}, and the model was made for {} (its config.json): "
      "beyond them it may make no sense; {}\n",
      what, tokens, more > 0 ? fmt::format(" and {} may follow", more) : "", *model.max_positions,
      advice));
}

}  // namespace sluice::cli
