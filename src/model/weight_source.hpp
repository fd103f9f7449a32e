// The tensors of one checkpoint while a model is being built. What a layer has packed is given
// back to the system when its scope ends: the mapped file never stands in memory beside the packed
// weights.
#pragma once

#include <string>
#include <vector>

#include <sluice/checkpoint.hpp>

namespace sluice {

class WeightSource {
 public:
  explicit WeightSource(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  TensorView tensor(const std::string& name) const {
    const TensorView view = checkpoint_.tensor(name);
    used_.push_back(view);
    return view;
  }
  // The first of `names` that the checkpoint has.
  TensorView first_of(const std::vector<std::string>& names) const {
    for (const std::string& name : names) {
      if (contains(name)) return tensor(name);
    }
    return tensor(names.front());
  }
  bool contains(const std::string& name) const { return checkpoint_.contains(name); }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  // Gives back everything handed out since the last call.
  void release() const {
    for (const TensorView& view : used_) checkpoint_.release(view);
    used_.clear();
  }

 private:
  const Checkpoint& checkpoint_;
  mutable std::vector<TensorView> used_;
};

}  // namespace sluice
