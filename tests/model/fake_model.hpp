// Batches for blocks without a checkpoint.
#pragma once

#include <random>
#include <vector>

#include <sluice/model.hpp>

#include "model/batch.hpp"

namespace sluice::testing {

class FakeModel final : public Model {
 public:
  FakeModel() { description_.vocab_size = 1; }
  const ModelDescription& description() const override { return description_; }
  const Backend* layer_backend(std::int64_t) const override { return nullptr; }
  std::string layer_variant(std::int64_t) const override { return {}; }
  MemoryFigures memory() const override { return {}; }
  std::unique_ptr<Sequence> new_sequence() const override { return nullptr; }
  void forward(std::span<const SequenceInput>, Logits&) override {}
  const ForwardTimes& times() const override { return times_; }
  void reset_times() override {}

 private:
  ModelDescription description_;
  ForwardTimes times_;
};

inline std::vector<float> random_floats(std::size_t count, std::mt19937& random, float low = -1.0f,
                                        float high = 1.0f) {
  std::uniform_real_distribution<float> draw(low, high);
  std::vector<float> values(count);
  for (float& value : values) value = draw(random);
  return values;
}

}  // namespace sluice::testing
