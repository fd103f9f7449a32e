// One verb of the command line.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sluice::cli {

// What the process returns. Errors thrown by a verb become kBadInput and one line on stderr.
enum ExitCode : int { kOk = 0, kFoundProblem = 1, kBadInput = 2 };

// Runs after the command line was parsed; owns the values that parsing filled in.
using Run = std::function<int()>;

struct Verb {
  const char* name;
  const char* summary;
  Run (*declare)(CLI::App& app);  // declares the options, teaches by an example, returns the run
};

// One file per verb; main.cpp lists them.
Run declare_audit(CLI::App& app);
Run declare_bench(CLI::App& app);
Run declare_eval(CLI::App& app);
Run declare_fields(CLI::App& app);
Run declare_inspect(CLI::App& app);
Run declare_layer(CLI::App& app);
Run declare_logits(CLI::App& app);
Run declare_run(CLI::App& app);
Run declare_tokenize(CLI::App& app);

}  // namespace sluice::cli
