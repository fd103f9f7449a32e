// What expert parallelism needs from a group of ranks. The layer is handed one; no rank is a
// global.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace sluice {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;  // 0 … size() - 1; MoeLayer refuses others with Error(user)
  virtual int size() const = 0;  // ranks, at least 1
  // In place, in rank order, so that every rank and every run gets the same bits. Every rank calls
  // it, with as many values; it returns when the sum is there. What it throws reaches the caller of
  // the layer.
  virtual void sum(std::span<float> values) = 0;
};

// One rank: sum does nothing.
std::shared_ptr<Collective> make_self_collective();

}  // namespace sluice
