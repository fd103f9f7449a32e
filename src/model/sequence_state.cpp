#include "model/sequence_state.hpp"

namespace sluice {

std::size_t SequenceState::bytes() const {
  std::size_t total = 0;
  for (const auto& layer : layers_) total += layer->bytes();
  return total;
}

std::unique_ptr<Sequence> SequenceState::fork() const {
  std::vector<std::unique_ptr<LayerState>> layers;
  for (const auto& layer : layers_) layers.push_back(layer->clone());
  auto copy = std::make_unique<SequenceState>(owner_, std::move(layers));
  copy->length_ = length_;
  return copy;
}

}  // namespace sluice
