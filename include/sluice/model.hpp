// Whole models: a Hugging Face checkpoint folder in, logits out.
//
// Families: AFMoE (Trinity) and Kimi-Linear. Every MoE layer is a MoeLayer of its own backend;
// everything else (norms, attention, caches) is computed on the CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <sluice/backend.hpp>
#include <sluice/executor.hpp>
#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>

namespace sluice {

// What the inputs of matrix products are rounded to. Residual stream, norms, softmax, rotary
// angles, router, recurrent state and all accumulation are fp32 in both.
enum class ActivationPrecision : std::uint8_t { f32, bf16 };

struct LoadProgress {
  std::int64_t layers_done = 0;
  std::int64_t layers = 0;
  std::size_t weight_bytes = 0;  // packed so far
};

struct ModelOptions {
  std::string backend = {};           // of the MoE layers; empty: choose_backend's rules
  const Backend* instance = nullptr;  // a backend outside the list (plugin, mutant); wins
  ActivationPrecision precision = ActivationPrecision::f32;
  std::shared_ptr<Executor> executor = {};  // null: make_executor()
  std::function<void(const LoadProgress&)> progress = {};
  // Kimi-Linear only, Error(user) for other families. Hugging Face: 1e-6 (the default), vLLM and
  // llama.cpp: 1e-5.
  std::optional<double> kv_a_layernorm_eps = {};
  // Kimi-Linear only: route as Moonshot's released remote code does.
  bool weights_from_biased_scores = false;
};

struct LayerDescription {
  std::int64_t index = 0;
  std::string mixer;           // "sliding_attention", "full_attention", "kda", "mla"
  std::optional<MoeSpec> moe;  // nullopt: a dense MLP
};

struct ExpectedTensor {
  std::string name;
  Shape shape;
};

// What config.json alone says. With options, `moe` is the spec that load_model would use for a
// checkpoint whose experts are bf16.
struct ModelDescription {
  std::string model_type;  // "afmoe", "kimi_linear"
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  // How long a sequence the model was made for: max_position_embeddings, else model_max_length.
  // Longer ones are computed all the same. nullopt: config.json has neither.
  std::optional<std::int64_t> max_positions = {};
  std::vector<LayerDescription> layers;
  std::vector<ExpectedTensor> tensors;  // in the released naming, one tensor per expert
};

// Throws Error(checkpoint) naming the key: unknown model_type, missing, mistyped or out-of-range
// values, and values that would change the arithmetic in a way that is not implemented.
ModelDescription describe_model(const std::string& config_json_text,
                                const ModelOptions& options = {});

// What a sequence keeps between calls: KV caches, latent caches, recurrent states, conv tails.
// Made by one model and to be used with that model only; destroying it frees it.
class Sequence {
 public:
  virtual ~Sequence() = default;
  virtual std::int64_t length() const = 0;  // ids seen so far
  virtual std::size_t bytes() const = 0;    // memory held
  // An independent copy: both may continue differently.
  virtual std::unique_ptr<Sequence> fork() const = 0;
};

inline constexpr std::int64_t kAllPositions = std::numeric_limits<std::int64_t>::max();

struct SequenceInput {
  Sequence* sequence = nullptr;            // each at most once per batch
  std::span<const std::int32_t> ids = {};  // continue the sequence; may be empty
  // How many of the last new positions' logits are wanted (clipped to ids.size()).
  std::int64_t logits = 1;
};

// fp32 logits, one row per wanted position: in the batch's order, positions ascending.
class Logits {
 public:
  std::int64_t rows() const { return rows_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  std::span<const float> row(std::int64_t index) const {
    return {values_.data() + index * vocab_size_, static_cast<std::size_t>(vocab_size_)};
  }
  // Keeps its memory for the next call. Returns [rows, vocab_size].
  std::span<float> resize(std::int64_t rows, std::int64_t vocab_size) {
    rows_ = rows;
    vocab_size_ = vocab_size;
    values_.resize(static_cast<std::size_t>(rows * vocab_size));
    return values_;
  }

 private:
  std::int64_t rows_ = 0;
  std::int64_t vocab_size_ = 0;
  std::vector<float> values_;
};

// Wall seconds since load or reset_times, by part. `router` is the router's GEMM; the choice of
// experts and the combine belong to `experts`, as do the shared experts.
struct ForwardTimes {
  std::int64_t tokens = 0;
  double attention = 0.0;  // projections, rotary, softmax, KDA, caches
  double router = 0.0;
  double experts = 0.0;
  double dense_mlp = 0.0;
  double head = 0.0;  // final norm and lm_head
  double rest = 0.0;  // embedding, norms, residuals
  double total() const { return attention + router + experts + dense_mlp + head + rest; }
};

struct MemoryFigures {
  std::size_t weight_bytes = 0;          // packed, everything
  std::size_t expert_bytes = 0;          // of that, inside MoeLayers
  std::size_t sequence_fixed_bytes = 0;  // per sequence: recurrent state, conv tails, and windows
                                         // once they are full
  std::size_t sequence_bytes_per_token = 0;  // what one further token adds to a long sequence
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelDescription& description() const = 0;  // `moe`: the specs in use
  // The backend and kernel variant of layer `index`'s MoeLayer; nullptr backend for dense layers.
  virtual const Backend* layer_backend(std::int64_t index) const = 0;
  virtual std::string layer_variant(std::int64_t index) const = 0;
  virtual MemoryFigures memory() const = 0;

  virtual std::unique_ptr<Sequence> new_sequence() const = 0;

  // Continues every sequence of the batch by its ids. Prefill, decode and mixtures of both are the
  // same call. Throws Error(user) before changing anything for an id outside the vocabulary, a
  // sequence given twice, or one of another model. If the forward pass itself throws, the batch's
  // sequences are unusable. One call at a time per model.
  virtual void forward(std::span<const SequenceInput> batch, Logits& logits) = 0;

  virtual const ForwardTimes& times() const = 0;
  virtual void reset_times() = 0;
};

// Reads config.json and the safetensors of `directory`, packs every weight once, and lets go of
// the files. Error(checkpoint) lists every missing, superfluous, misshapen or mistyped tensor.
std::unique_ptr<Model> load_model(const std::string& directory, const ModelOptions& options = {});

}  // namespace sluice
