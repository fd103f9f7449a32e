// A thread's run of products of one kernel.
#pragma once

#include "kernels/isa.hpp"

namespace sluice {

class PanelSession {
 public:
  explicit PanelSession(const PanelKernel& kernel) : kernel_(kernel) {
    if (kernel_.begin != nullptr) kernel_.begin();
  }
  ~PanelSession() {
    if (kernel_.end != nullptr) kernel_.end();
  }
  PanelSession(const PanelSession&) = delete;
  PanelSession& operator=(const PanelSession&) = delete;

 private:
  const PanelKernel& kernel_;
};

}  // namespace sluice
