// What a plugin may not do is refused by its name, before it becomes a null pointer elsewhere.
#include <gtest/gtest.h>

#include <sluice/error.hpp>
#include <sluice/plugin_backend.hpp>
#include <string>

namespace sluice {
namespace {

MoeSpec spec_of(std::int64_t top_k) {
  MoeSpec spec;
  spec.router.num_experts = 4;
  spec.router.top_k = top_k;
  spec.experts.hidden_size = spec.experts.intermediate_size = 8;
  return spec;
}

template <typename Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PluginExperts, AWorkspaceOfMinusOneIsRefused) {
  const auto plugin = load_plugin(BAD_PLUGIN);
  const auto experts = plugin->load(spec_of(2), {}, {});
  EXPECT_EQ(experts->workspace_bytes(3), 256u);
  EXPECT_EQ(refusal([&] { experts->workspace_bytes(4); }),
            "plugin bad: workspace_bytes is 18446744073709551615 for 4 tokens; it must be in "
            "[0, 4611686018427387904]");
}

TEST(PluginExperts, ANullLayerIsRefused) {
  const auto plugin = load_plugin(BAD_PLUGIN);
  EXPECT_EQ(refusal([&] { plugin->load(spec_of(1), {}, {}); }),
            "plugin bad: load returned SLUICE_OK and left the layer null");
}

}  // namespace
}  // namespace sluice
