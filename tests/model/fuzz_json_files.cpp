// Bytes as each JSON file that lies beside a checkpoint's tensors, and as a layer's own spec: what
// is taken is bounded, and a spec comes back as it was. Only sluice::Error may come out.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <sluice/generation_config.hpp>
#include <sluice/model.hpp>
#include <sluice/presets.hpp>

#include "base/fuzzing.hpp"
#include "checkpoint/shard_index.hpp"

using sluice::test::refuse_or;

namespace {

void round_trip(const sluice::MoeSpec& spec) {
  if (sluice::parse_spec(sluice::print_spec(spec)) != spec) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  refuse_or([&] {
    if (sluice::describe_model(text).tensors.size() > 10'000'000) std::abort();
  });
  refuse_or([&] { round_trip(sluice::spec_from_config(text)); });
  refuse_or([&] { round_trip(sluice::parse_spec(text)); });
  refuse_or([&] { sluice::parse_generation_config(text); });
  refuse_or([&] { sluice::parse_shard_index(text); });
  return 0;
}
