#include <omp.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "base/fail.hpp"
#include "base/float_types.hpp"
#include "kernels/isa_list.hpp"
#include "peer.hpp"

namespace sluice::bench {
namespace {

using dnnl::matmul;
using dnnl::memory;

class OneDnnPeer final : public Peer {
 public:
  explicit OneDnnPeer(const PeerInput& input)
      : shape_(input.shape),
        executor_(input.executor),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {
    omp_set_num_threads(input.threads);
    const auto rows = static_cast<std::size_t>(input.most_tokens * shape_.top_k);
    x_.resize(rows * static_cast<std::size_t>(shape_.hidden));
    gate_up_out_.resize(rows * static_cast<std::size_t>(2 * shape_.intermediate));
    act_.resize(rows * static_cast<std::size_t>(shape_.intermediate));
    y_.resize(rows * static_cast<std::size_t>(shape_.hidden));
    output_.resize(static_cast<std::size_t>(input.most_tokens * shape_.hidden));
    for (std::int64_t e = 0; e < shape_.experts; ++e) {
      gate_up_.push_back(pack(input.weights.gate_up(e), 2 * shape_.intermediate, shape_.hidden));
      down_.push_back(pack(input.weights.down(e), shape_.hidden, shape_.intermediate));
    }
  }

  std::string name() const override {
    return "oneDNN " + std::to_string(DNNL_VERSION_MAJOR) + "." +
           std::to_string(DNNL_VERSION_MINOR) + "." + std::to_string(DNNL_VERSION_PATCH);
  }

  // A primitive for each number of rows: making one takes longer than running it.
  void prepare(const ExpertPlan& plan) override {
    for_experts(plan, [&](std::size_t e, std::size_t, std::int64_t rows) {
      product(gate_up_[e], rows, shape_.hidden, 2 * shape_.intermediate);
      product(down_[e], rows, shape_.intermediate, shape_.hidden);
    });
    // After a task its threads wait awake for what is timed, as between an engine's layers.
    // Compilers leave out a parallel region that is empty, GCC and Clang alike.
#pragma omp parallel
    __asm__ volatile("" ::: "memory");
  }

  void forward(const std::uint16_t* hidden, const ExpertPlan& plan) override {
    const auto h = static_cast<std::size_t>(shape_.hidden);
    const auto i = static_cast<std::size_t>(shape_.intermediate);
    for_rows(plan.rows(), [&](std::size_t row) {
      std::copy_n(hidden + static_cast<std::size_t>(plan.row_token[row]) * h, h,
                  x_.data() + row * h);
    });
    for_experts(plan, [&](std::size_t e, std::size_t first, std::int64_t rows) {
      multiply(x_.data() + first * h, gate_up_[e], gate_up_out_.data() + first * 2 * i, rows,
               shape_.hidden, 2 * shape_.intermediate);
    });
    // Gate and up lie in halves of the row; panels of 16 are what the activation takes.
    for_rows(plan.rows(), [&](std::size_t row) {
      alignas(64) float pair[32] = {};
      const float* pre = gate_up_out_.data() + row * 2 * i;
      for (std::size_t c = 0; c < i; c += 16) {
        const std::size_t count = std::min<std::size_t>(16, i - c);
        std::copy_n(pre + c, count, pair);
        std::copy_n(pre + i + c, count, pair + 16);
        default_isa().activate({pair, nullptr, act_.data() + row * i + c,
                                static_cast<std::int64_t>(count), ActivationCode::swiglu,
                                RowFormat::bf16, 1, 0, __builtin_inff()});
      }
    });
    for_experts(plan, [&](std::size_t e, std::size_t first, std::int64_t rows) {
      multiply(act_.data() + first * i, down_[e], y_.data() + first * h, rows, shape_.intermediate,
               shape_.hidden);
    });
    for_rows(plan.tokens, [&](std::size_t token) {
      thread_local std::vector<float> sum, weights;
      thread_local std::vector<const float*> rows;
      sum.resize(h);
      weights.clear();
      rows.clear();
      for (std::int64_t slot = 0; slot < plan.top_k; ++slot) {
        const std::int64_t row = plan.slot_row[token * static_cast<std::size_t>(plan.top_k) +
                                               static_cast<std::size_t>(slot)];
        if (row < 0) continue;
        const auto at = static_cast<std::size_t>(row);
        rows.push_back(y_.data() + at * h);
        weights.push_back(plan.row_weight[at]);
      }
      default_isa().accumulate({sum.data(), rows.data(), weights.data(),
                                static_cast<std::int64_t>(rows.size()), shape_.hidden, false});
      default_isa().convert({sum.data(), output_.data() + token * h, shape_.hidden, RowFormat::f32,
                             RowFormat::bf16, 1.0f});
    });
  }

  std::vector<std::uint16_t> output(std::int64_t token) const override {
    const auto first = output_.begin() + token * shape_.hidden;
    return {first, first + shape_.hidden};
  }

 private:
  template <typename F>
  void for_rows(std::int64_t rows, F f) {
    std::atomic<std::int64_t> next{0};
    auto work = [&](int) {
      constexpr std::int64_t kRows = 8;
      for (;;) {
        const std::int64_t first = next.fetch_add(kRows);
        if (first >= rows) return;
        for (std::int64_t r = first; r < std::min(first + kRows, rows); ++r) {
          f(static_cast<std::size_t>(r));
        }
      }
    };
    if (rows <= 16) {
      work(0);
    } else {
      executor_.run(work);
    }
  }

  template <typename F>
  void for_experts(const ExpertPlan& plan, F f) {
    for (std::size_t e = 0; e + 1 < plan.expert_offsets.size(); ++e) {
      const std::int64_t first = plan.expert_offsets[e];
      const std::int64_t rows = plan.expert_offsets[e + 1] - first;
      if (rows > 0) f(e, static_cast<std::size_t>(first), rows);
    }
    stream_.wait();
  }

  // The layout chosen for a middling number of rows serves all.
  static memory::desc any_weights(std::int64_t rows, std::int64_t cols) {
    return {{cols, rows}, memory::data_type::bf16, memory::format_tag::any};
  }

  memory pack(std::span<const std::uint16_t> weights, std::int64_t rows, std::int64_t cols) {
    constexpr std::int64_t kTypicalRows = 64;
    const matmul::primitive_desc typical(
        {matmul::desc({{kTypicalRows, cols}, memory::data_type::bf16, memory::format_tag::ab},
                      any_weights(rows, cols),
                      {{kTypicalRows, rows}, memory::data_type::f32, memory::format_tag::ab})},
        engine_);
    // [rows, cols] row-major is [cols, rows] in order "ba".
    memory from({{cols, rows}, memory::data_type::bf16, memory::format_tag::ba}, engine_,
                const_cast<std::uint16_t*>(weights.data()));
    memory to(typical.weights_desc(), engine_);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return to;
  }

  static memory::desc rows_of(std::int64_t rows, std::int64_t cols, memory::data_type type) {
    return {{rows, cols}, type, memory::format_tag::ab};
  }

  const matmul& product(const memory& weights, std::int64_t rows, std::int64_t cols,
                        std::int64_t out_cols) {
    const std::tuple key{rows, cols, out_cols};
    const auto found = products_.find(key);
    if (found != products_.end()) return found->second;
    const matmul::primitive_desc description(
        {matmul::desc(rows_of(rows, cols, memory::data_type::bf16), weights.get_desc(),
                      rows_of(rows, out_cols, memory::data_type::f32))},
        engine_);
    return products_.emplace(key, matmul(description)).first->second;
  }

  void multiply(std::uint16_t* x, const memory& weights, float* out, std::int64_t rows,
                std::int64_t cols, std::int64_t out_cols) {
    const memory source(rows_of(rows, cols, memory::data_type::bf16), engine_, x);
    const memory target(rows_of(rows, out_cols, memory::data_type::f32), engine_, out);
    product(weights, rows, cols, out_cols)
        .execute(stream_,
                 {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, target}});
  }

  Shape shape_;
  Executor& executor_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<memory> gate_up_, down_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, matmul> products_;
  std::vector<std::uint16_t> x_, act_, output_;
  std::vector<float> gate_up_out_, y_;
};

}  // namespace

std::unique_ptr<Peer> make_onednn_peer(const PeerInput& input) {
  try {
    return std::make_unique<OneDnnPeer>(input);
  } catch (const dnnl::error& error) {
    // Without AVX-512, this version has no bf16 product.
    fail(ErrorKind::unsupported,
         "oneDNN cannot multiply bf16 on this machine ({}); leave it out with --peer none",
         error.what());
  }
}

}  // namespace sluice::bench
