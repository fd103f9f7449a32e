// RMS norm: w · v · rsqrt(mean(v²) + eps), reduced and multiplied by w in fp32.
#pragma once

#include <vector>

#include <sluice/tensor.hpp>

#include "model/blocks/compute.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(const TensorView& weight, double eps);
  // Row by row; out may be x.
  void operator()(Compute& compute, const Matrix& x, Matrix& out) const;
  // One vector of width(); out may be x.
  void vector(const float* x, float* out) const;
  std::int64_t width() const { return static_cast<std::int64_t>(weight_.size()); }
  std::size_t bytes() const { return weight_.size() * sizeof(float); }

 private:
  std::vector<float> weight_;
  float eps_ = 0.0f;
};

// A small tensor's values as fp32, whatever its dtype and rank.
std::vector<float> to_floats(const TensorView& tensor);

// x += branch_norm(branch), then h = next(x), row by row while the row is in cache. Without
// `branch_norm` the branch is added as it is; otherwise its contents are lost. Without `next`, h
// stays.
void add_and_norm(Compute& compute, Matrix& x, Matrix& branch, const RmsNorm* branch_norm,
                  const RmsNorm* next, Matrix& h);

}  // namespace sluice
