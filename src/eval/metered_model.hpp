// A model whose forward calls are timed, prefill apart from decode.
#pragma once

#include <sluice/eval.hpp>

namespace sluice {

class MeteredModel final : public Model {
 public:
  MeteredModel(Model& inner, EvalTimes& times) : inner_(inner), times_(times) {}
  void forward(std::span<const SequenceInput> batch, Logits& logits) override;

  const ModelDescription& description() const override { return inner_.description(); }
  const Backend* layer_backend(std::int64_t index) const override {
    return inner_.layer_backend(index);
  }
  std::string layer_variant(std::int64_t index) const override {
    return inner_.layer_variant(index);
  }
  MemoryFigures memory() const override { return inner_.memory(); }
  std::unique_ptr<Sequence> new_sequence() const override { return inner_.new_sequence(); }
  const ForwardTimes& times() const override { return inner_.times(); }
  void reset_times() override { inner_.reset_times(); }

 private:
  Model& inner_;
  EvalTimes& times_;
};

void accumulate(EvalTimes& total, const EvalTimes& part);

}  // namespace sluice
