// Results and inputs that are one file.
#pragma once

#include <initializer_list>

namespace CLI {
class App;
}

namespace sluice::cli {

// Two results in one file lose one of them; a result in an input's file loses the input. The
// options are named, "--json"; those that were not given are passed over. Throws Error(user).
void refuse_shared_files(const CLI::App& verb, std::initializer_list<const char*> results,
                         std::initializer_list<const char*> inputs);

}  // namespace sluice::cli
