#include "model/kimi_linear/mla_mixer.hpp"

#include <array>
#include <cstring>

#include "model/blocks/parallel.hpp"

namespace sluice::kimi_linear {

MlaMixer::MlaMixer(const Config& config, double kv_a_layernorm_eps, const WeightSource& weights,
                   const std::string& stem, Compute& compute)
    : q_kv_a_proj_(std::array{weights.tensor(stem + "q_proj.weight"),
                              weights.tensor(stem + "kv_a_proj_with_mqa.weight")},
                   *compute.executor),
      kv_a_layernorm_(weights.tensor(stem + "kv_a_layernorm.weight"), kv_a_layernorm_eps),
      attention_(config.mla, to_floats(weights.tensor(stem + "kv_b_proj.weight"))),
      o_proj_(weights.tensor(stem + "o_proj.weight"), *compute.executor),
      projected_(compute.matrix(0)),
      attended_(compute.matrix(1)) {}

void MlaMixer::operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& h,
                          Matrix& out) {
  const Stopwatch watch(compute.times.attention);
  const LatentShape& shape = attention_.shape();
  q_kv_a_proj_(compute, h, projected_);
  for (const BatchEntry& entry : batch.entries()) {
    auto& cache = static_cast<LatentCache&>(entry.sequence->layer(layer));
    cache.extend(entry.rows);
    parallel_rows(*compute.executor, entry.rows, row_grain(shape.width()),
                  [&](std::int64_t first, std::int64_t last) {
                    for (std::int64_t i = first; i < last; ++i) {
                      const float* latent =
                          projected_.row(entry.first_row + i) + shape.heads * shape.query();
                      float* cached = cache.row(entry.position + i);
                      kv_a_layernorm_.vector(latent, cached);
                      std::memcpy(cached + shape.latent, latent + shape.latent,
                                  static_cast<std::size_t>(shape.pe) * sizeof(float));
                    }
                  });
  }
  attention_(compute, batch, layer, projected_, LatentForm::cheaper, attended_);
  o_proj_(compute, attended_, out);
}

std::unique_ptr<LayerState> MlaMixer::new_state() const {
  return std::make_unique<LatentCache>(attention_.shape().width());
}

std::size_t MlaMixer::bytes() const {
  return q_kv_a_proj_.bytes() + kv_a_layernorm_.bytes() + attention_.bytes() + o_proj_.bytes();
}

std::size_t MlaMixer::state_bytes_per_token() const {
  return static_cast<std::size_t>(attention_.shape().width()) * sizeof(float);
}

}  // namespace sluice::kimi_linear
