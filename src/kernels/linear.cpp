#include "kernels/linear.hpp"

#include <algorithm>
#include <atomic>

#include "base/fail.hpp"
#include "kernels/isa_list.hpp"

namespace sluice {
namespace {

// Panels and tokens of one item of work. 8 panels of a 2048-column bf16 matrix are 512 KiB, a
// quarter of a server core's L2; 96 tokens are whole tiles of every kernel (12, 6, 32).
constexpr std::int64_t kItemPanels = 8;
constexpr std::int64_t kItemTokens = 96;
// Below this many products, waking another thread costs more than it saves (about 2 us).
constexpr std::int64_t kSerialProducts = 1 << 16;

PanelKernel kernel_for(const Isa& isa, PackedFormat weights, RowFormat x) {
  if (x == RowFormat::bf16) {
    if (weights == PackedFormat::bf16) return isa.bf16_bf16;
    fail(ErrorKind::unsupported, "bf16 activations need bf16 weights; give fp32 activations");
  }
  switch (weights) {
    case PackedFormat::f32:
      return isa.f32_f32_in_double;
    case PackedFormat::bf16:
      return isa.f32_bf16;
    case PackedFormat::f16:
      return isa.f32_f16;
  }
  fail(ErrorKind::internal, "packed format {}", static_cast<int>(weights));
}

struct Product {
  PanelKernel kernel;
  PackedView w;
  const std::byte* x;
  std::int64_t tokens;
  std::int64_t x_stride;  // bytes

  PanelJob job(std::int64_t token, std::int64_t tokens_now, std::int64_t panel,
               std::int64_t panels_now, float* c, std::int64_t c_stride) const {
    return {x + token * x_stride, x_stride,   w.data + panel * w.panel_stride(),
            w.panel_stride(),     c,          c_stride,
            tokens_now,           panels_now, w.cols};
  }
};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Calls item(first token, tokens, first panel, panels) over the whole product, work-stealing.
// Panels come in pairs; narrow products are cut finer, so that every worker gets a few items.
template <typename Item>
void for_each_item(const Product& product, Executor& executor, Item item) {
  const std::int64_t token_items = ceil_div(product.tokens, kItemTokens);
  std::int64_t step = kItemPanels;
  while (step > 2 && token_items * ceil_div(product.w.panels(), step) < 4 * executor.workers()) {
    step /= 2;
  }
  const std::int64_t items = token_items * ceil_div(product.w.panels(), step);
  std::atomic<std::int64_t> next{0};
  auto work = [&](int) {
    for (;;) {
      const std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= items) return;
      // Neighbouring items share panels: tokens are the inner loop.
      const std::int64_t token = index % token_items * kItemTokens;
      const std::int64_t panel = index / token_items * step;
      item(token, std::min(kItemTokens, product.tokens - token), panel,
           std::min(step, product.w.panels() - panel));
    }
  };
  if (items == 1 || product.tokens * product.w.rows * product.w.cols <= kSerialProducts) {
    work(0);
  } else {
    executor.run(work);
  }
}

void check_view(const char* name, std::int64_t rows, std::int64_t stride, std::int64_t width) {
  if (rows < 0 || (rows > 0 && stride < width)) {
    fail(ErrorKind::internal, "{} has {} rows of stride {}; the product needs stride >= {}", name,
         rows, stride, width);
  }
}

// The last panel may hold fewer rows than it has lanes: it goes through a buffer.
void run_linear(const Product& product, float* out, std::int64_t out_stride, Executor& executor) {
  const std::int64_t whole = product.w.rows / kPanelRows;
  const std::int64_t rest = product.w.rows % kPanelRows;
  for_each_item(
      product, executor,
      [&](std::int64_t token, std::int64_t tokens, std::int64_t panel, std::int64_t panels) {
        const std::int64_t direct = std::min(panels, whole - panel);
        float* to = out + token * out_stride + panel * kPanelRows;
        if (direct > 0) {
          product.kernel(product.job(token, tokens, panel, direct, to, out_stride));
        }
        if (direct == panels) return;
        alignas(64) float last[kItemTokens * kPanelRows];
        product.kernel(product.job(token, tokens, panel + direct, 1, last, kPanelRows));
        for (std::int64_t t = 0; t < tokens; ++t) {
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
void run_gated(const Product& product, const Isa& isa, ActivationCode activation,
               std::int64_t width, RowFormat out_format, Out* out, std::int64_t out_stride,
               Executor& executor) {
  for_each_item(
      product, executor,
      [&](std::int64_t token, std::int64_t tokens, std::int64_t panel, std::int64_t panels) {
        alignas(64) float c[kItemTokens * kItemPanels * kPanelRows];
        const std::int64_t c_stride = panels * kPanelRows;
        product.kernel(product.job(token, tokens, panel, panels, c, c_stride));
        const std::int64_t first = panel / 2 * kPanelRows;
        const std::int64_t count = std::min(c_stride / 2, width - first);
        for (std::int64_t t = 0; t < tokens; ++t) {
          isa.activate({c + t * c_stride, nullptr, out + (token + t) * out_stride + first, count,
                        activation, out_format, 1.0f, 0.0f, __builtin_inff()});
        }
      });
}

template <typename T>
Product make_product(const PackedMatrix& w, RowsView<const T> x, const Isa& isa) {
  const RowFormat format = sizeof(T) == 4 ? RowFormat::f32 : RowFormat::bf16;
  check_view("x", x.rows, x.stride, w.cols());
  return {kernel_for(isa, w.format(), format), w.view(), reinterpret_cast<const std::byte*>(x.data),
          x.rows, x.stride * static_cast<std::int64_t>(sizeof(T))};
}

}  // namespace

void linear(const PackedMatrix& w, RowsView<const float> x, RowsView<float> out, Executor& executor,
            const Isa* isa) {
  const Product product = make_product(w, x, isa != nullptr ? *isa : default_isa());
  check_view("out", x.rows, out.stride, w.rows());
  run_linear(product, out.data, out.stride, executor);
}

void linear(const PackedMatrix& w, RowsView<const std::uint16_t> x, RowsView<float> out,
            Executor& executor, const Isa* isa) {
  const Product product = make_product(w, x, isa != nullptr ? *isa : default_isa());
  check_view("out", x.rows, out.stride, w.rows());
  run_linear(product, out.data, out.stride, executor);
}

void gated_linear(const PackedMatrix& gate_up, Activation activation, RowsView<const float> x,
                  RowsView<float> out, Executor& executor, const Isa* isa) {
  const Isa& used = isa != nullptr ? *isa : default_isa();
  const Product product = make_product(gate_up, x, used);
  check_view("out", x.rows, out.stride, gate_up.gate_rows());
  run_gated(product, used, gated_code(activation), gate_up.gate_rows(), RowFormat::f32, out.data,
            out.stride, executor);
}

void gated_linear(const PackedMatrix& gate_up, Activation activation,
                  RowsView<const std::uint16_t> x, RowsView<std::uint16_t> out, Executor& executor,
                  const Isa* isa) {
  const Isa& used = isa != nullptr ? *isa : default_isa();
  const Product product = make_product(gate_up, x, used);
  check_view("out", x.rows, out.stride, gate_up.gate_rows());
  run_gated(product, used, gated_code(activation), gate_up.gate_rows(), RowFormat::bf16, out.data,
            out.stride, executor);
}

void convert_to_bf16(const float* from, std::uint16_t* to, std::int64_t count) {
  default_isa().convert({from, to, count, RowFormat::f32, RowFormat::bf16, 1.0f});
}

void convert_to_f32(const std::uint16_t* from_bf16, float* to, std::int64_t count) {
  default_isa().convert({from_bf16, to, count, RowFormat::bf16, RowFormat::f32, 1.0f});
}

}  // namespace sluice
