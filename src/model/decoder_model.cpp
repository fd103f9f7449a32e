#include "model/decoder_model.hpp"

#include <cstring>

#include "base/fail.hpp"
#include "base/given_executor.hpp"
#include "kernels/linear.hpp"

namespace sluice {

DecoderModel::DecoderModel(ModelDescription description, const ModelOptions& options)
    : description_(std::move(description)) {
  compute_.executor = given_executor(options.executor);
  compute_.precision = options.precision;
}

void DecoderModel::load_ends(const WeightSource& weights, double rms_norm_eps,
                             bool tie_word_embeddings) {
  const TensorView table = weights.tensor("model.embed_tokens.weight");
  embed_tokens_ = Embedding(table);
  norm_ = RmsNorm(weights.tensor("model.norm.weight"), rms_norm_eps);
  // transformers ties AFMoE, saves Kimi's own head whatever the config says, and ties no two
  // tensors that a checkpoint has both: what is there counts.
  const bool tied = tie_word_embeddings && !weights.contains("lm_head.weight");
  lm_head_ = Linear(tied ? table : weights.tensor("lm_head.weight"), executor());
  weights.release();
}

void DecoderModel::report_progress(const ModelOptions& options, std::int64_t layers_done) const {
  if (!options.progress) return;
  std::size_t bytes = embed_tokens_.bytes() + norm_.bytes() + lm_head_.bytes();
  for (std::int64_t index = 0; index < layers_done; ++index) bytes += layer_bytes(index);
  options.progress({layers_done, layer_count(), bytes});
}

void DecoderModel::embed(const Batch& batch, float factor, Matrix& x) {
  const Stopwatch watch(compute_.times.rest);
  embed_tokens_(compute_, batch, factor, x);
}

void DecoderModel::norm(const RmsNorm& norm, const Matrix& x, Matrix& out) {
  const Stopwatch watch(compute_.times.rest);
  norm(compute_, x, out);
}

void DecoderModel::add_and_norm(Matrix& x, Matrix& branch, const RmsNorm* branch_norm,
                                const RmsNorm* next, Matrix& h) {
  const Stopwatch watch(compute_.times.rest);
  sluice::add_and_norm(compute_, x, branch, branch_norm, next, h);
}

void DecoderModel::compute_logits(const Batch& batch, const Matrix& x, Logits& logits) {
  const Stopwatch watch(compute_.times.head);
  const auto rows = batch.wanted_rows();
  wanted_.resize(std::ssize(rows), x.columns());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(wanted_.row(static_cast<std::int64_t>(i)), x.row(rows[i]),
                static_cast<std::size_t>(x.columns()) * sizeof(float));
  }
  norm_(compute_, wanted_, wanted_);
  const auto values = logits.resize(wanted_.rows(), description_.vocab_size);
  lm_head_(compute_, wanted_, values.data());
}

std::size_t DecoderModel::layer_bytes(std::int64_t index) const {
  const DecoderLayer& parts = layer(index);
  return parts.mixer->bytes() + parts.feed_forward->bytes() + norm_bytes(index);
}

const Backend* DecoderModel::layer_backend(std::int64_t index) const {
  const MoeLayer* moe = layer(index).feed_forward->moe_layer();
  return moe == nullptr ? nullptr : &moe->backend();
}

std::string DecoderModel::layer_variant(std::int64_t index) const {
  const MoeLayer* moe = layer(index).feed_forward->moe_layer();
  return moe == nullptr ? std::string() : moe->variant();
}

MemoryFigures DecoderModel::memory() const {
  MemoryFigures figures;
  figures.weight_bytes = embed_tokens_.bytes() + norm_.bytes() + lm_head_.bytes();
  for (std::int64_t index = 0; index < layer_count(); ++index) {
    const DecoderLayer& parts = layer(index);
    figures.weight_bytes += layer_bytes(index);
    if (const MoeLayer* moe = parts.feed_forward->moe_layer()) {
      figures.expert_bytes += moe->weight_bytes();
    }
    figures.sequence_fixed_bytes += parts.mixer->state_fixed_bytes();
    figures.sequence_bytes_per_token += parts.mixer->state_bytes_per_token();
  }
  return figures;
}

std::unique_ptr<Sequence> DecoderModel::new_sequence() const {
  std::vector<std::unique_ptr<LayerState>> states;
  for (std::int64_t index = 0; index < layer_count(); ++index) {
    states.push_back(layer(index).mixer->new_state());
  }
  return std::make_unique<SequenceState>(this, std::move(states));
}

}  // namespace sluice
