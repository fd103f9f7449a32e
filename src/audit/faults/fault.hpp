// What makes a backend wrong: two hooks around a correct one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <sluice/audit.hpp>

#include "audit/owned_tensor.hpp"

namespace sluice::auditing {

// What the inner backend is given at load. Edited tensors live as long as the load.
struct Load {
  MoeSpec spec;
  MoeWeights weights;
  std::vector<std::shared_ptr<OwnedTensor>> edited;

  TensorView keep(OwnedTensor tensor) {
    edited.push_back(std::make_shared<OwnedTensor>(std::move(tensor)));
    return edited.back()->view();
  }
};

// One call of forward. `output` may be redirected, `input` edited; forward() calls the inner one.
struct Call {
  const MoeSpec& spec;  // as claimed; the inner experts may have been loaded with another
  const Experts& inner;
  ForwardInput input;
  ForwardOutput output;
  std::span<std::byte> workspace;
  void* stream = nullptr;

  std::int64_t tokens() const { return input.hidden_states.shape[0]; }
  void forward() const { inner.forward(input, output, workspace, stream); }
};

// Empty members change nothing.
struct Fault {
  std::function<void(Load&)> load;
  std::function<void(Call&)> forward;
  std::function<std::size_t(std::size_t bytes, std::int64_t tokens)> workspace_bytes;
};

// Called once per load with what the caller asked for, so that hooks can keep copies of it.
using MakeFault = std::function<Fault(const MoeSpec&, const MoeWeights&)>;

struct Mutant {
  MutantInfo info;
  MakeFault make;
  // Replaces the inner backend's answer for what it accepts. Empty: the inner one's.
  std::function<Support(const Backend& inner, const MoeSpec&)> supports;
  // False: the mutant computes what `inner` does. Empty: where the mutant's field is not claimed.
  bool (*applies)(const Backend& inner) = nullptr;
};

// Every mutant, by class.
const std::vector<Mutant>& mutant_list();

// The field that a mutant loses or distorts; empty when it is about none.
std::string_view field_of_mutant(std::string_view name);

MakeFault drop_fault(std::string_view field);
MakeFault double_fault(std::string_view field);

// `inner` wrong by `mutant`; both must outlive the result.
std::unique_ptr<Backend> decorate(const Backend& inner, const Mutant& mutant);

}  // namespace sluice::auditing
