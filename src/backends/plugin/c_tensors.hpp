// Tensor views -> the plain structs of <sluice/plugin.h>.
#pragma once

#include <list>
#include <vector>

#include <sluice/plugin.h>
#include <sluice/backend.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice::plugin {

sluice_tensor to_c(const TensorView& view);
sluice_out_tensor to_c(const MutableTensorView& view);

// sluice_weights over a layer's tensors. Gate and up given apart are stacked (gate rows first),
// since the ABI knows one tensor for GEMM 1, and F32 matrices of a 16-bit weight_format are rounded
// to it, so that no plugin need know of them; the copies live as long as this object.
class CWeights {
 public:
  CWeights(const MoeSpec& spec, const MoeWeights& weights);
  const sluice_weights& get() const { return weights_; }

 private:
  sluice_tensor_list list(const ExpertMatrices& matrices);
  TensorView stacked(const TensorView& gate, const TensorView& up);
  TensorView as_floats(const TensorView& matrix);
  TensorView rounded(const TensorView& matrix);

  const WeightFormat format_;
  std::list<std::vector<sluice_tensor>> lists_;
  std::list<AlignedBuffer> owned_;
  sluice_weights weights_{};
};

}  // namespace sluice::plugin
