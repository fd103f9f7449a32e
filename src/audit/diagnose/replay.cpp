#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include <sluice/checkpoint.hpp>

#include "audit/diagnose/diagnose.hpp"
#include "base/fail.hpp"

namespace sluice::auditing {

Replay write_replay(const Case& subject, std::string_view backend, const LoadOptions& load,
                    const std::string& directory, const std::string& stem) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    fail(ErrorKind::user, "cannot make the directory {} for replays: {}", directory,
         error.message());
  }
  const auto path = [&](const char* end) { return (fs::path(directory) / (stem + end)).string(); };
  Replay replay;
  replay.files = {path(".spec.json"), path(".weights.safetensors"), path(".input.safetensors")};

  std::ofstream spec(replay.files[0]);
  spec << print_spec(subject.spec);
  if (!spec.flush()) fail(ErrorKind::device, "cannot write {}", replay.files[0]);
  std::vector<NamedTensor> weights, input;
  for (const auto& [name, tensor] : subject.tensors) {
    (is_input(name) ? input : weights).push_back({name, tensor.view()});
  }
  const std::map<std::string, std::string> origin{{"regime", subject.regime},
                                                  {"seed", fmt::format("{}", subject.seed)}};
  write_safetensors(replay.files[1], weights, origin);
  write_safetensors(replay.files[2], input, origin);
  replay.command = fmt::format(
      "sluice layer --spec {} --weights {} --input {} --backend {} --out {}", replay.files[0],
      replay.files[1], replay.files[2], backend, path(".output.safetensors"));
  if (load.may_round_slot_outputs) replay.command += " --round-slot-outputs";
  return replay;
}

}  // namespace sluice::auditing
