// The delta rule: stepped and in chunks of any size, split anywhere, against double.
#include "model/blocks/delta_rule.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "model/fake_model.hpp"

namespace sluice {
namespace {

using testing::FakeModel;
using testing::random_floats;

constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kDim = 10;
constexpr std::int64_t kWidth = kHeads * kDim;

struct Inputs {
  Matrix qkv, g, beta;
};

void fill(Matrix& matrix, std::int64_t rows, std::int64_t columns, std::mt19937& random, float low,
          float high) {
  matrix.resize(rows, columns);
  const auto values = random_floats(static_cast<std::size_t>(rows * columns), random, low, high);
  std::copy(values.begin(), values.end(), matrix.data());
}

// Keys of length 1, as the mixer makes them; decays from none to complete.
Inputs random_inputs(std::int64_t rows, float strongest_decay) {
  std::mt19937 random(11);
  Inputs in;
  fill(in.qkv, rows, 3 * kWidth, random, -1.0f, 1.0f);
  fill(in.beta, rows, kHeads, random, 0.05f, 0.95f);
  fill(in.g, rows, kWidth, random, -1.0f, 0.0f);
  std::uniform_real_distribution<float> exponent(-8.0f, 0.0f);
  for (std::int64_t i = 0; i < rows * kWidth; ++i) {
    in.g.data()[i] *= strongest_decay * std::exp2(exponent(random));
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < kHeads; ++head) {
      float* k = in.qkv.row(row) + kWidth + head * kDim;
      float squares = 0.0f;
      for (std::int64_t d = 0; d < kDim; ++d) squares += k[d] * k[d];
      for (std::int64_t d = 0; d < kDim; ++d) k[d] /= std::sqrt(squares);
    }
  }
  return in;
}

struct Result {
  std::vector<double> out;    // [rows, width]
  std::vector<double> state;  // [heads, dim, dim]
};

Result definition(const Inputs& in, std::int64_t rows) {
  Result result{{}, std::vector<double>(kHeads * kDim * kDim, 0.0)};
  result.out.resize(static_cast<std::size_t>(rows * kWidth));
  for (std::int64_t head = 0; head < kHeads; ++head) {
    double* s = result.state.data() + head * kDim * kDim;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* q = in.qkv.row(row) + head * kDim;
      const float* k = q + kWidth;
      const float* v = k + kWidth;
      for (std::int64_t d = 0; d < kDim; ++d) {
        for (std::int64_t c = 0; c < kDim; ++c) {
          s[d * kDim + c] *= std::exp(double{in.g.row(row)[head * kDim + d]});
        }
      }
      for (std::int64_t c = 0; c < kDim; ++c) {
        double error = v[c], o = 0.0;
        for (std::int64_t d = 0; d < kDim; ++d) error -= s[d * kDim + c] * k[d];
        for (std::int64_t d = 0; d < kDim; ++d) {
          s[d * kDim + c] += k[d] * in.beta.row(row)[head] * error;
          o += s[d * kDim + c] * q[d];
        }
        result.out[static_cast<std::size_t>(row * kWidth + head * kDim + c)] = o;
      }
    }
  }
  return result;
}

// Runs the rows in pieces of the given size and compares outputs and final state.
void expect_equal(const Inputs& in, const Result& exact, const DeltaShape& shape,
                  std::int64_t piece, int threads) {
  const std::int64_t rows = in.qkv.rows();
  Compute compute;
  compute.executor = make_executor(threads);
  FakeModel model;
  SequenceState sequence(&model, {});
  std::vector<float> state(kHeads * kDim * kDim, 0.0f);
  float* states[] = {state.data()};
  DeltaRule rule(shape);
  for (std::int64_t first = 0; first < rows; first += piece) {
    const std::int64_t count = std::min(piece, rows - first);
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(count), 0);
    const SequenceInput input{&sequence, ids, 0};
    const Batch batch(model, std::span(&input, 1));
    Matrix qkv, g, beta, out;
    const auto take = [&](const Matrix& from, Matrix& to) {
      to.resize(count, from.columns());
      std::copy_n(from.row(first), count * from.columns(), to.data());
    };
    take(in.qkv, qkv);
    take(in.g, g);
    take(in.beta, beta);
    rule(compute, batch, states, {qkv, g, beta}, out);
    for (std::int64_t i = 0; i < count * kWidth; ++i) {
      ASSERT_NEAR(out.data()[i], exact.out[static_cast<std::size_t>(first * kWidth + i)], 2e-5)
          << "chunk " << shape.chunk << " piece " << piece << " row " << first + i / kWidth;
    }
  }
  for (std::size_t i = 0; i < state.size(); ++i) ASSERT_NEAR(state[i], exact.state[i], 2e-5);
}

TEST(DeltaRule, ChunksOfAnySizeSplitAnywhereAreTheSteps) {
  for (const float decay : {0.01f, 1.0f, 30.0f, 1000.0f}) {
    const Inputs in = random_inputs(197, decay);
    const Result exact = definition(in, 197);
    const auto shape = [](std::int64_t chunk) {
      return DeltaShape{.heads = kHeads, .head_dim = kDim, .chunk = chunk, .least_chunk_rows = 2};
    };
    expect_equal(in, exact, {.heads = kHeads, .head_dim = kDim, .least_chunk_rows = 1000}, 197, 1);
    for (const std::int64_t chunk : {1, 5, 16, 33, 64, 200}) {
      expect_equal(in, exact, shape(chunk), 197, 2);
    }
    for (const std::int64_t piece : {1, 16, 65, 100}) expect_equal(in, exact, shape(64), piece, 2);
  }
}

// More chunks than stand in memory at once.
TEST(DeltaRule, LongSequences) {
  const Inputs in = random_inputs(1500, 1.0f);
  expect_equal(in, definition(in, 1500), {.heads = kHeads, .head_dim = kDim, .chunk = 32}, 1500, 3);
}

TEST(DeltaRule, BitsDoNotDependOnThreads) {
  const Inputs in = random_inputs(300, 1.0f);
  std::vector<std::vector<float>> outputs;
  for (const int threads : {1, 4}) {
    Compute compute;
    compute.executor = make_executor(threads);
    FakeModel model;
    SequenceState sequence(&model, {});
    std::vector<float> state(kHeads * kDim * kDim, 0.0f);
    float* states[] = {state.data()};
    const std::vector<std::int32_t> ids(300, 0);
    const SequenceInput input{&sequence, ids, 0};
    Matrix out;
    DeltaRule rule({.heads = kHeads, .head_dim = kDim});
    rule(compute, Batch(model, std::span(&input, 1)), states, {in.qkv, in.g, in.beta}, out);
    outputs.emplace_back(out.data(), out.data() + 300 * kWidth);
    outputs.back().insert(outputs.back().end(), state.begin(), state.end());
  }
  EXPECT_EQ(outputs[0], outputs[1]);
}

}  // namespace
}  // namespace sluice
