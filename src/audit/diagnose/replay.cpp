#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <sluice/checkpoint.hpp>

#include "audit/diagnose/diagnose.hpp"
#include "base/fail.hpp"
#include "base/shell_word.hpp"

namespace sluice::auditing {

namespace {

void write_spec(const std::string& path, const MoeSpec& spec) {
  std::ofstream file(path);
  file << print_spec(spec);
  if (file.flush()) return;
  const int reason = errno;
  std::error_code none;
  std::filesystem::remove(path, none);  // half a spec is none
  fail(ErrorKind::device, "cannot write {}: {}", path, std::strerror(reason));
}

std::string replay_with(const Backend& backend, const AuditOptions& options) {
  if (!options.replay_with.empty()) return options.replay_with;
  const auto known = backends();
  const bool listed = std::any_of(known.begin(), known.end(), [&](const Backend* candidate) {
    return candidate->name() == backend.name();
  });
  return fmt::format("--backend {}", listed ? backend.name() : "reference");
}

}  // namespace

Replay write_replay(const Case& subject, const Backend& backend, const AuditOptions& options,
                    const std::string& stem) {
  namespace fs = std::filesystem;
  const std::string& directory = options.replay_directory;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    fail(ErrorKind::user, "cannot make the directory {} for replays: {}", directory,
         error.message());
  }
  const auto path = [&](const char* end) { return (fs::path(directory) / (stem + end)).string(); };
  Replay replay;
  replay.files = {path(".spec.json"), path(".weights.safetensors"), path(".input.safetensors")};

  write_spec(replay.files[0], subject.spec);
  std::vector<NamedTensor> weights, input;
  for (const auto& [name, tensor] : subject.tensors) {
    (is_input(name) ? input : weights).push_back({name, tensor.view()});
  }
  const std::map<std::string, std::string> origin{{"regime", subject.regime},
                                                  {"seed", fmt::format("{}", subject.seed)}};
  write_safetensors(replay.files[1], weights, origin);
  write_safetensors(replay.files[2], input, origin);
  replay.command = fmt::format("sluice layer --spec {} --weights {} --input {} {} --out {}",
                               shell_word(replay.files[0]), shell_word(replay.files[1]),
                               shell_word(replay.files[2]), replay_with(backend, options),
                               shell_word(path(".output.safetensors")));
  if (options.load.may_round_slot_outputs) replay.command += " --round-slot-outputs";
  return replay;
}

}  // namespace sluice::auditing
