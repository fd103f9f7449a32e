// What the host hands to the kernels. Plain structs, passed by value; pointers are device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include <sluice/dtype.hpp>
#include <sluice/spec.hpp>

#include "backends/cuda/layout.hpp"
#include "backends/cuda/tile_choice.hpp"

namespace sluice::cuda {

inline constexpr int kMaxTopK = 32;
inline constexpr int kMaxExperts = 1024;

struct Routing {
  RouterSpec router;
  int tokens = 0;
  const void* logits = nullptr;  // [tokens, E]; null: routing is given
  DType logits_dtype = DType::f32;
  const float* router_bias = nullptr;      // [E] or null
  const float* correction_bias = nullptr;  // [E] or null
  const void* given_ids = nullptr;         // [tokens, K]
  DType given_ids_dtype = DType::i32;
  const void* given_weights = nullptr;  // [tokens, K]
  DType given_weights_dtype = DType::f32;
  const std::int32_t* local_expert = nullptr;  // [E] global -> local or -1; null: the same
  std::int32_t* ids_out = nullptr;             // [tokens, K] or null: for the caller
  float* weights_out = nullptr;                // [tokens, K] or null
};

// For callers who have no logits.
struct RouterLogits {
  const void* hidden_states = nullptr;  // [tokens, H]
  DType dtype = DType::bf16;
  const void* weight = nullptr;  // [E, H]
  DType weight_dtype = DType::bf16;
  int tokens = 0;
  int experts = 0;
  int hidden = 0;
  float* logits = nullptr;  // [tokens, E]
};

// Consecutive rows of one expert that one pass over its weights serves.
struct Segment {
  std::int32_t expert;   // local; -1: the shared block
  std::int32_t x_group;  // of the staged tokens, 8 rows each
  std::int32_t group;    // of h and y
  std::int32_t rows;
  std::int32_t run;    // where in the list the expert's first segment stands
  std::int32_t parts;  // how many it has

  SLUICE_HOST_DEVICE int groups() const { return (rows + 7) / 8; }
};

// The plan: written by the plan kernels, read by all that follow.
struct Plan {
  int tokens = 0;
  // [1] of the whole call, or null. Tokens at or beyond it are as if they were not there, so that a
  // captured graph serves fewer tokens than it was captured with.
  const std::int32_t* token_count = nullptr;
  int first_token = 0;  // of the call: where this piece of it begins
  int top_k = 0;
  int local_experts = 0;
  int segment_groups = 0;                 // longest segment, in groups
  std::int32_t* slot_local = nullptr;     // [tokens, K] local expert or -1
  float* slot_weight = nullptr;           // [tokens, K]
  std::int32_t* slot_row = nullptr;       // [tokens, K] row of y, or -1
  Segment* segments = nullptr;            // longest first
  std::int32_t* segment_count = nullptr;  // [1]

  // Of the counting sort.
  int block_tokens = 0;
  int blocks = 0;
  int count_row = 0;
  std::uint8_t* block_counts = nullptr;  // [blocks, count_row] slots of each local expert
  std::uint8_t* slot_rank = nullptr;     // [tokens, K] among its block's slots of the same expert

  // Cleared by the plan, counted up by the FFN's CTAs.
  std::int32_t* counters = nullptr;  // what follows, together
  int counter_count = 0;
  std::int32_t* next_tile = nullptr;  // [1] claimed
  std::int32_t* ready = nullptr;      // [shared segments + segments] GEMM 1 tiles done

  SLUICE_HOST_DEVICE int block_slots() const { return block_tokens * top_k; }
#ifdef __CUDACC__
  __device__ int live_tokens() const {
    return token_count == nullptr ? tokens : min(max(*token_count - first_token, 0), tokens);
  }
#endif
};

// The tokens' rows, rounded to bf16, where GEMM 1 reads them.
struct Staging {
  const void* hidden_states = nullptr;  // [tokens, H]
  DType dtype = DType::bf16;
  int hidden = 0;
  int column_blocks = 0;
  std::int64_t groups = 0;  // of `x`, the shared block's included
  int routed_groups = 0;    // those before the shared block's
  bool has_shared = false;
  bool weight_on_input = false;        // K = 1: rows of routed experts are weight * x
  const float* shared_gate = nullptr;  // [H] or null
  float* gate_out = nullptr;           // [tokens] sigmoid(shared_gate . x)
  std::uint8_t* x = nullptr;           // tokens layout
};

// Weights that are fetched into the second-level cache while routing leaves memory idle.
struct Prefetch {
  const std::uint8_t* from = nullptr;
  std::int64_t bytes = 0;  // whole tiles
};

struct ActivationParams {
  Activation kind = Activation::swiglu;
  float alpha = 1.0f;
  float beta = 0.0f;
  float limit = 0.0f;
  bool limited = false;
};

// Feed-forward blocks of one shape: all routed experts, or the shared block.
struct FfnBlocks {
  const std::uint8_t* weights1 = nullptr;  // [experts] tiles of [rows1, columns1]
  const std::uint8_t* weights2 = nullptr;  // [experts] tiles of [rows2, columns2]
  const float* bias1 = nullptr;            // [experts, 2, units] gate, up; or null
  int tiles1 = 0;                          // row tiles of 64
  int columns1 = 0;                        // column blocks
  int columns2 = 0;
  int units = 0;              // that there are; h of those behind them is zero
  std::uint8_t* h = nullptr;  // tokens layout, [columns2][h_groups]
  std::int64_t h_groups = 0;
  int h_group0 = 0;  // group of all blocks' that is group 0 of h and y
  // Outputs of GEMM 2, [rows, output_columns(H)] in pairs of columns (layout.hpp): as they are, or
  // rounded to bf16.
  float2* y = nullptr;
  std::uint32_t* rounded_y = nullptr;
  ActivationParams activation;
};

// out = F * sum over slots of w (y + down_bias) + gate * shared.
struct Combine {
  const void* y = nullptr;  // of the routed experts, rows of chunks of 16 bytes
  int y_chunks = 0;
  bool y_rounded = false;            // FfnBlocks::rounded_y
  const float2* shared_y = nullptr;  // of the shared block, or null
  int hidden = 0;
  const float* down_bias = nullptr;  // [local experts, H] or null
  bool weight_on_input = false;
  float output_factor = 1.0f;
  const float* gate = nullptr;  // [tokens] or null
  void* output = nullptr;       // [tokens, H]
  DType dtype = DType::bf16;
};

struct Ffn {
  FfnBlocks routed;
  FfnBlocks shared;         // tiles1 = 0 without shared experts
  int shared_segments = 0;  // they stand before the routed ones
  int shared_x_group = 0;
  int tiles2 = 0;  // row tiles of 64 of GEMM 2
  bool gated = true;
  const std::uint8_t* x = nullptr;  // tokens layout, [columns1][x_groups]
  std::int64_t x_groups = 0;
  int hidden = 0;
  FfnTile tile = FfnTile::rows64_tokens32;
  bool plain = true;  // SwiGLU without biases, alpha, beta and limit
  Plan plan;
};

// Before all others, if at all.
void router_logits(const RouterLogits& args, cudaStream_t stream);

// One launch each, in the order of the stream. (Of few tokens: few/few.hpp.)
void route(const Routing& routing, const Plan& plan, const Prefetch& prefetch, cudaStream_t stream);
void place(const Plan& plan, const Staging& staging, cudaStream_t stream);
void run_ffn(const Ffn& ffn, cudaStream_t stream);
void combine(const Combine& args, const Plan& plan, cudaStream_t stream);

// Rows of a bf16 matrix in device memory -> tiles. What no row reaches stays as it is: clear the
// tiles first.
struct PackRows {
  const void* source = nullptr;
  std::int64_t source_row = 0;   // first row taken
  std::int64_t source_step = 1;  // 2: every other row
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  bool interleaved = false;  // rows are units of a gated block: packed row gate_row(r) + offset
  std::int64_t offset = 0;
  std::uint8_t* tiles = nullptr;
  std::int64_t column_blocks = 0;
};
void pack_rows(const PackRows& job, cudaStream_t stream);

}  // namespace sluice::cuda
