#include "kernels/linear.hpp"

#include <algorithm>
#include <atomic>

#include "base/fail.hpp"
#include "kernels/isa_list.hpp"
#include "kernels/panel_product.hpp"

namespace sluice {
namespace {

// Where the item's results are a buffer: 64 KiB.
constexpr std::int64_t kMostGatedTokens = 128;
// Tokens of an item where one worker multiplies them by all panels: 512 KiB of fp32 x at a width of
// 1024.
constexpr std::int64_t kNarrowTokens = 128;

void check_view(const char* name, std::int64_t rows, std::int64_t stride, std::int64_t width) {
  if (rows < 0 || (rows > 0 && stride < width)) {
    fail(ErrorKind::internal, "{} has {} rows of stride {}; the product needs stride >= {}", name,
         rows, stride, width);
  }
}

// The last panel may hold fewer rows than it has lanes: it goes through a buffer.
void run_linear(const PanelProduct& product, float* out, std::int64_t out_stride,
                Executor& executor) {
  const std::int64_t whole = product.w.rows / kPanelRows;
  const std::int64_t rest = product.w.rows % kPanelRows;
  for_each_item(product, executor, [&](ProductItem item) {
    const std::int64_t direct = std::min(item.panels, whole - item.panel);
    const bool partial = direct < item.panels;
    float* to = out + item.token * out_stride + item.panel * kPanelRows;
    if (direct > 0) {
      ProductItem first = item;
      first.panels = direct;
      if (partial) first.next_panel = item.panel + direct;
      multiply(product, first, to, out_stride);
    }
    if (!partial) return;
    alignas(64) float last[kMostItemTokens * kPanelRows];
    item.panel += direct;
    item.panels = 1;
    multiply(product, item, last, kPanelRows);
    for (std::int64_t t = 0; t < item.tokens; ++t) {
      std::copy_n(last + t * kPanelRows, rest, to + t * out_stride + direct * kPanelRows);
    }
  });
}

ActivationCode gated_code(Activation activation) {
  switch (activation) {
    case Activation::swiglu:
      return ActivationCode::swiglu;
    case Activation::geglu:
      return ActivationCode::geglu;
    case Activation::geglu_tanh:
      return ActivationCode::geglu_tanh;
    default:
      fail(ErrorKind::internal, "gated_linear of an activation without a gate");
  }
}

template <typename Out>
void run_gated(const PanelProduct& product, const Isa& isa, ActivationCode activation,
               std::int64_t width, RowFormat out_format, Out* out, std::int64_t out_stride,
               Executor& executor) {
  for_each_item(product, executor, [&](const ProductItem& item) {
    alignas(64) float c[kMostGatedTokens * kItemPanels * kPanelRows];
    const std::int64_t c_stride = item.panels * kPanelRows;
    multiply(product, item, c, c_stride);
    const std::int64_t first = item.panel / 2 * kPanelRows;
    const std::int64_t count = std::min(c_stride / 2, width - first);
    for (std::int64_t t = 0; t < item.tokens; ++t) {
      isa.activate({c + t * c_stride, nullptr, out + (item.token + t) * out_stride + first, count,
                    activation, out_format, 1.0f, 0.0f, __builtin_inff()});
    }
  });
}

template <typename T>
SourceRows rows_of(RowsView<const T> x, std::int64_t cols) {
  check_view("x", x.rows, x.stride, cols);
  return {reinterpret_cast<const std::byte*>(x.data), x.rows,
          x.stride * static_cast<std::int64_t>(sizeof(T)),
          sizeof(T) == 4 ? RowFormat::f32 : RowFormat::bf16};
}

// All work on the thread that calls.
class Serial final : public Executor {
 public:
  int workers() const override { return 1; }
  void run(const Task& task) override { task(0); }
};

void dense_by_panels(const PackedMatrix& w, const SourceRows& x, RowFormat as, RowsView<float> out,
                     Executor& executor, const Isa& isa) {
  PanelProduct product = make_product(w, x, as, isa, kMostItemTokens, executor);
  product.out_streams = is_streamed(x.count * out.stride);
  run_linear(product, out.data, out.stride, executor);
}

// Few panels, as routers have: a worker lays out x of its tokens for itself. It stays in its cache
// and is multiplied at once; laid out for all, it was written to memory and read from there.
void dense_by_tokens(const PackedMatrix& w, const SourceRows& x, RowFormat as, RowsView<float> out,
                     Executor& executor, const Isa& isa) {
  std::atomic<std::int64_t> next{0};
  auto work = [&](int) {
    Serial serial;
    for (;;) {
      const std::int64_t token = next.fetch_add(kNarrowTokens, std::memory_order_relaxed);
      if (token >= x.count) return;
      const std::int64_t count = std::min(kNarrowTokens, x.count - token);
      dense_by_panels(w, {x.data + token * x.stride, count, x.stride, x.format}, as,
                      {out.data + token * out.stride, count, out.stride}, serial, isa);
    }
  };
  executor.run(work);
}

void dense(const PackedMatrix& w, const SourceRows& x, RowFormat as, RowsView<float> out,
           Executor& executor, const Isa* isa) {
  check_view("out", x.count, out.stride, w.rows());
  const bool few_panels = w.view().panels() <= kItemPanels;
  const auto run = few_panels && x.count >= 2 * kNarrowTokens * executor.workers()
                       ? dense_by_tokens
                       : dense_by_panels;
  run(w, x, as, out, executor, isa != nullptr ? *isa : default_isa());
}

template <typename Out>
void gated(const PackedMatrix& gate_up, Activation activation, const SourceRows& x, RowFormat as,
           RowsView<Out> out, Executor& executor, const Isa* isa) {
  const Isa& used = isa != nullptr ? *isa : default_isa();
  check_view("out", x.count, out.stride, gate_up.gate_rows());
  const PanelProduct product = make_product(gate_up, x, as, used, kMostGatedTokens, executor);
  run_gated(product, used, gated_code(activation), gate_up.gate_rows(),
            sizeof(Out) == 4 ? RowFormat::f32 : RowFormat::bf16, out.data, out.stride, executor);
}

}  // namespace

void linear(const PackedMatrix& w, RowsView<const float> x, RowsView<float> out, Executor& executor,
            const Isa* isa) {
  dense(w, rows_of(x, w.cols()), RowFormat::f32, out, executor, isa);
}

void linear(const PackedMatrix& w, RowsView<const std::uint16_t> x, RowsView<float> out,
            Executor& executor, const Isa* isa) {
  dense(w, rows_of(x, w.cols()), RowFormat::bf16, out, executor, isa);
}

void linear_of_rounded(const PackedMatrix& w, RowsView<const float> x, RowsView<float> out,
                       Executor& executor, const Isa* isa) {
  dense(w, rows_of(x, w.cols()), RowFormat::bf16, out, executor, isa);
}

void gated_linear(const PackedMatrix& gate_up, Activation activation, RowsView<const float> x,
                  RowsView<float> out, Executor& executor, const Isa* isa) {
  gated(gate_up, activation, rows_of(x, gate_up.cols()), RowFormat::f32, out, executor, isa);
}

void gated_linear(const PackedMatrix& gate_up, Activation activation,
                  RowsView<const std::uint16_t> x, RowsView<std::uint16_t> out, Executor& executor,
                  const Isa* isa) {
  gated(gate_up, activation, rows_of(x, gate_up.cols()), RowFormat::bf16, out, executor, isa);
}

void gated_linear_of_rounded(const PackedMatrix& gate_up, Activation activation,
                             RowsView<const float> x, RowsView<std::uint16_t> out,
                             Executor& executor, const Isa* isa) {
  gated(gate_up, activation, rows_of(x, gate_up.cols()), RowFormat::bf16, out, executor, isa);
}

void convert_to_bf16(const float* from, std::uint16_t* to, std::int64_t count) {
  default_isa().convert({from, to, count, RowFormat::f32, RowFormat::bf16, 1.0f});
}

void convert_to_f32(const std::uint16_t* from_bf16, float* to, std::int64_t count) {
  default_isa().convert({from_bf16, to, count, RowFormat::bf16, RowFormat::f32, 1.0f});
}

}  // namespace sluice
