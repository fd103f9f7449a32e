#include "layer/router_linear.hpp"

#include <algorithm>
#include <utility>

#include "base/element.hpp"

namespace sluice {
namespace {

// Four tokens share each load of a weight; 4 x 8 running sums fill eight SSE registers.
constexpr std::int64_t kTokenTile = 4;
constexpr std::int64_t kLanes = 8;
constexpr std::int64_t kExpertTile = 32;
// Each lane adds 64 products in fp32 before the sums move to double: the error stays below
// 67 u sum|a b| for any H.
constexpr std::int64_t kChunk = 64 * kLanes;

std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void widen_row(const TensorView& source, std::int64_t row, std::int64_t columns, std::int64_t width,
               float* out) {
  for (std::int64_t i = 0; i < columns; ++i) {
    out[i] = load_float(source.data, source.dtype, row * columns + i);
  }
  std::fill(out + columns, out + width, 0.0f);
}

// Adds the products of columns [begin, end) of one weight row and kTokenTile hidden rows.
void add_chunk(const float* weight, const float* rows, std::int64_t width, std::int64_t begin,
               std::int64_t end, double (&sums)[kTokenTile]) {
  float lanes[kTokenTile][kLanes] = {};
  for (std::int64_t i = begin; i < end; i += kLanes) {
    for (std::int64_t token = 0; token < kTokenTile; ++token) {
      const float* row = rows + token * width + i;
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[token][lane] += weight[i + lane] * row[lane];
      }
    }
  }
  for (std::int64_t token = 0; token < kTokenTile; ++token) {
    for (float lane : lanes[token]) sums[token] += lane;
  }
}

}  // namespace

RouterLinear::RouterLinear(const TensorView& weight, std::shared_ptr<Executor> executor)
    : experts_(weight.shape[0]),
      hidden_size_(weight.shape[1]),
      width_(round_up(hidden_size_, kLanes)),
      weight_(static_cast<std::size_t>(experts_ * width_) * sizeof(float)),
      rows_(static_cast<std::size_t>(executor->workers() * kTokenTile * width_) * sizeof(float)),
      executor_(std::move(executor)) {
  for (std::int64_t expert = 0; expert < experts_; ++expert) {
    widen_row(weight, expert, hidden_size_, width_, weight_.as<float>() + expert * width_);
  }
}

void RouterLinear::forward(const TensorView& hidden, float* logits) {
  const std::int64_t token_tiles = round_up(hidden.shape[0], kTokenTile) / kTokenTile;
  const std::int64_t expert_tiles = round_up(experts_, kExpertTile) / kExpertTile;
  const std::int64_t tiles = token_tiles * expert_tiles;
  const std::int64_t workers = executor_->workers();
  auto work = [&](int worker) {
    float* rows = rows_.as<float>() + worker * kTokenTile * width_;
    for (std::int64_t tile = tiles * worker / workers; tile < tiles * (worker + 1) / workers;
         ++tile) {
      forward_tile(hidden, tile / expert_tiles * kTokenTile, tile % expert_tiles * kExpertTile,
                   rows, logits);
    }
  };
  executor_->run(work);
}

void RouterLinear::forward_tile(const TensorView& hidden, std::int64_t first_token,
                                std::int64_t first_expert, float* rows, float* logits) const {
  const std::int64_t tokens = std::min(kTokenTile, hidden.shape[0] - first_token);
  for (std::int64_t token = 0; token < kTokenTile; ++token) {
    // A short last tile repeats its first token; the surplus sums are not stored.
    const std::int64_t source = token < tokens ? first_token + token : first_token;
    widen_row(hidden, source, hidden_size_, width_, rows + token * width_);
  }
  const std::int64_t last_expert = std::min(first_expert + kExpertTile, experts_);
  for (std::int64_t expert = first_expert; expert < last_expert; ++expert) {
    const float* weight = weight_.as<float>() + expert * width_;
    double sums[kTokenTile] = {};
    for (std::int64_t begin = 0; begin < width_; begin += kChunk) {
      add_chunk(weight, rows, width_, begin, std::min(begin + kChunk, width_), sums);
    }
    for (std::int64_t token = 0; token < tokens; ++token) {
      logits[(first_token + token) * experts_ + expert] = static_cast<float>(sums[token]);
    }
  }
}

}  // namespace sluice
