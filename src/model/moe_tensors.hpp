// Where a MoE layer's tensors are in a checkpoint. Experts come in three layouts:
//
//   separate   experts.E.{gate_proj, up_proj, down_proj}.weight      one tensor each
//   stacked    experts.{gate_proj, up_proj, down_proj}.weight        [E, …]
//   fused      experts.gate_up_proj [E, 2I, H], gate rows first, and experts.down_proj [E, H, I]
#pragma once

#include <array>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/model.hpp>
#include <sluice/spec.hpp>
#include <sluice/weights.hpp>

#include "checkpoint/expectations.hpp"
#include "model/weight_source.hpp"

namespace sluice {

struct MoeTensorNames {
  std::string router_weight;
  std::string e_score_correction_bias;
  std::string experts;         // "….experts."
  std::string shared_experts;  // "….shared_experts."
  // gate, up and down in the separate layout
  std::array<std::string_view, 3> parts{"gate_proj", "up_proj", "down_proj"};
};

// Each tensor under its one name, in any plain float dtype.
std::vector<TensorExpectation> plain_expectations(std::span<const ExpectedTensor> tensors);

// Tensors that old exporters leave behind and that carry nothing.
bool harmless_tensor(std::string_view name);

// `expectations` lists the separate layout, its experts below `listed_stem`: where the checkpoint
// has another layout, expects that instead.
void expect_layout(const Checkpoint& checkpoint, const MoeTensorNames& names,
                   std::string_view listed_stem, const MoeSpec& spec,
                   std::vector<TensorExpectation>& expectations);

// One layer's weights, all matrices of one dtype: the file's, or f32 where the file mixes several.
class MoeTensors {
 public:
  // Finds the tensors and reads none.
  MoeTensors(const WeightSource& source, const MoeTensorNames& names, const MoeSpec& spec);
  // Widens what is not of dtype(). The router's weight is not among them: see router_weight().
  const MoeWeights& weights();
  const TensorView& router_weight() const { return router_weight_; }
  DType dtype() const { return dtype_; }

 private:
  void gather_experts(const WeightSource& source, const MoeTensorNames& names, const MoeSpec& spec);
  std::vector<TensorView*> matrices();
  void widen(TensorView& view);

  MoeWeights weights_;
  TensorView router_weight_;
  DType dtype_ = DType::f32;
  std::deque<std::vector<float>> widened_;
};

}  // namespace sluice
