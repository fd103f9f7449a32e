// What a sequence keeps for each layer, behind one interface: KV pages, latent pages, or a
// recurrent state with its convolution tails.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <sluice/model.hpp>

namespace sluice {

class LayerState {
 public:
  virtual ~LayerState() = default;
  virtual std::size_t bytes() const = 0;
  virtual std::unique_ptr<LayerState> clone() const = 0;
};

class SequenceState final : public Sequence {
 public:
  SequenceState(const Model* owner, std::vector<std::unique_ptr<LayerState>> layers)
      : owner_(owner), layers_(std::move(layers)) {}

  std::int64_t length() const override { return length_; }
  std::size_t bytes() const override;
  std::unique_ptr<Sequence> fork() const override;

  const Model* owner() const { return owner_; }
  LayerState& layer(std::int64_t index) { return *layers_[static_cast<std::size_t>(index)]; }
  void advance(std::int64_t ids) { length_ += ids; }

 private:
  const Model* owner_;
  std::int64_t length_ = 0;
  std::vector<std::unique_ptr<LayerState>> layers_;
};

}  // namespace sluice
