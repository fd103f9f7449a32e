// Faults injected into the backend of a whole model show in its logits.
#include <gtest/gtest.h>

#include <sluice/audit.hpp>

#include "model/golden.hpp"

namespace sluice {
namespace {

using testing::golden_path;
using testing::logits_of;

// With one expert per token too, routing is the backend's: what it loses there shows.
TEST(InjectedModel, FaultsInTheRouterShowAtOneExpertPerToken) {
  const std::vector<std::int32_t> ids{1, 2, 3, 4, 5, 6};
  for (const char* family : {"afmoe", "kimi_linear"}) {
    const std::string directory = golden_path(family, "single_expert").string();
    const auto right = logits_of(*load_model(directory, {.backend = "cpu"}), ids);
    for (const char* fault : {"drop:router.routed_scaling_factor", "drop:router.norm_topk_prob",
                              "drop:router.norm_single_expert", "correction-bias-dropped"}) {
      const auto broken = inject(backend("cpu"), fault);
      EXPECT_NE(logits_of(*load_model(directory, {.instance = broken.get()}), ids), right)
          << family << " " << fault;
    }
  }
}

}  // namespace
}  // namespace sluice
