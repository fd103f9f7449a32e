// What every decoder family shares around its own forward(): sequences, the head, figures.
#pragma once

#include <memory>
#include <string>

#include <sluice/model.hpp>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/embedding.hpp"
#include "model/blocks/feed_forward.hpp"
#include "model/blocks/linear.hpp"
#include "model/blocks/mixer.hpp"
#include "model/blocks/norm.hpp"
#include "model/weight_source.hpp"

namespace sluice {

struct DecoderLayer {
  std::unique_ptr<Mixer> mixer;
  std::unique_ptr<FeedForward> feed_forward;
};

class DecoderModel : public Model {
 public:
  const ModelDescription& description() const final { return description_; }
  const Backend* layer_backend(std::int64_t index) const final;
  std::string layer_variant(std::int64_t index) const final;
  MemoryFigures memory() const final;
  std::unique_ptr<Sequence> new_sequence() const final;
  const ForwardTimes& times() const final { return compute_.times; }
  void reset_times() final { compute_.times = {}; }

 protected:
  DecoderModel(ModelDescription description, const ModelOptions& options);

  virtual const DecoderLayer& layer(std::int64_t index) const = 0;
  virtual std::size_t norm_bytes(std::int64_t index) const = 0;  // of layer `index`

  // Embedding, final norm and lm_head under the names that all families share.
  void load_ends(const WeightSource& weights, double rms_norm_eps, bool tie_word_embeddings);
  void report_progress(const ModelOptions& options, std::int64_t layers_done) const;
  // Steps of forward() whose time counts as `rest`.
  void embed(const Batch& batch, float factor, Matrix& x);
  void norm(const RmsNorm& norm, const Matrix& x, Matrix& out);
  // See blocks/norm.hpp.
  void add_and_norm(Matrix& x, Matrix& branch, const RmsNorm* branch_norm, const RmsNorm* next,
                    Matrix& h);
  // logits = lm_head(norm(x)) of the wanted rows.
  void compute_logits(const Batch& batch, const Matrix& x, Logits& logits);

  Executor& executor() { return *compute_.executor; }
  std::int64_t layer_count() const { return std::ssize(description_.layers); }

  ModelDescription description_;
  Compute compute_;

 private:
  std::size_t layer_bytes(std::int64_t index) const;

  Embedding embed_tokens_;
  RmsNorm norm_;
  Linear lm_head_;
  Matrix wanted_;  // [wanted rows, hidden]
};

}  // namespace sluice
