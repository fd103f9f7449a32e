#include "eval/metered_model.hpp"

#include <chrono>

namespace sluice {

namespace {

void add(ForwardTimes& total, const ForwardTimes& part) {
  total.tokens += part.tokens;
  total.attention += part.attention;
  total.router += part.router;
  total.experts += part.experts;
  total.dense_mlp += part.dense_mlp;
  total.head += part.head;
  total.rest += part.rest;
}

}  // namespace

void MeteredModel::forward(std::span<const SequenceInput> batch, Logits& logits) {
  std::int64_t tokens = 0;
  bool decode = true;
  for (const SequenceInput& input : batch) {
    tokens += std::ssize(input.ids);
    // The first id of a sequence is a prompt's, even when it comes alone.
    decode = decode && std::ssize(input.ids) == 1 && input.sequence->length() > 0;
  }
  inner_.reset_times();
  const auto start = std::chrono::steady_clock::now();
  inner_.forward(batch, logits);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Throughput& phase = decode ? times_.decode : times_.prefill;
  phase.tokens += tokens;
  phase.seconds += seconds.count();
  add(times_.parts, inner_.times());
}

void accumulate(EvalTimes& total, const EvalTimes& part) {
  for (Throughput EvalTimes::*phase : {&EvalTimes::prefill, &EvalTimes::decode}) {
    (total.*phase).tokens += (part.*phase).tokens;
    (total.*phase).seconds += (part.*phase).seconds;
  }
  add(total.parts, part.parts);
}

}  // namespace sluice
