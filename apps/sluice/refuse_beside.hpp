// Options that a mode of a verb would ignore are refused: what was asked for and not done is a lost
// parameter, here too.
#pragma once

#include <initializer_list>
#include <string_view>

namespace CLI {
class App;
}

namespace sluice::cli {

// Where `mode` was given: throws Error(user) for every other option that was given and is not among
// `used`. `why` says what the mode does instead. An option that nobody thought of is refused.
void refuse_beside(const CLI::App& verb, std::string_view mode,
                   std::initializer_list<std::string_view> used, std::string_view why);

}  // namespace sluice::cli
