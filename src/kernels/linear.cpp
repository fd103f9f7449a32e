#include "kernels/linear.hpp"

#include <algorithm>
#include <atomic>

#include "base/aligned_buffer.hpp"
#include "base/fail.hpp"
#include "kernels/isa_list.hpp"
#include "kernels/packed_rows.hpp"

namespace sluice {
namespace {

// Panels and tokens of one item of work. 8 panels of a 2048-column bf16 matrix are 512 KiB, a
// quarter of a server core's L2; 96 tokens are whole tiles of every kernel (12, 6, 32).
constexpr std::int64_t kItemPanels = 8;
constexpr std::int64_t kItemTokens = 96;
// Below this many products, waking another thread costs more than it saves (about 2 us).
constexpr std::int64_t kSerialProducts = 1 << 16;

// A product whose x is in the kernel's layout, item of tokens by item.
struct Product {
  const PanelKernel* kernel;
  PackedView w;
  const std::byte* x;
  std::int64_t tokens;
  std::int64_t token_bytes;

  PanelJob job(std::int64_t token, std::int64_t tokens_now, std::int64_t panel,
               std::int64_t panels_now, float* c, std::int64_t c_stride) const {
    return {x + token * token_bytes,
            w.data + panel * w.panel_stride(),
            w.panel_stride(),
            c,
            c_stride,
            tokens_now,
            panels_now,
            w.cols,
            nullptr,
            0,
            false};
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
          product.kernel->run(product.job(token, tokens, panel, direct, to, out_stride));
        }
        if (direct == panels) return;
        alignas(64) float last[kItemTokens * kPanelRows];
        product.kernel->run(product.job(token, tokens, panel + direct, 1, last, kPanelRows));
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
        product.kernel->run(product.job(token, tokens, panel, panels, c, c_stride));
        const std::int64_t first = panel / 2 * kPanelRows;
        const std::int64_t count = std::min(c_stride / 2, width - first);
        for (std::int64_t t = 0; t < tokens; ++t) {
          isa.activate({c + t * c_stride, nullptr, out + (token + t) * out_stride + first, count,
                        activation, out_format, 1.0f, 0.0f, __builtin_inff()});
        }
      });
}

// Of the thread that calls; the executor's workers fill it and read it. Grows to the largest x.
AlignedBuffer& packed_x(std::int64_t bytes) {
  thread_local AlignedBuffer buffer;
  if (static_cast<std::int64_t>(buffer.size()) < bytes) {
    buffer = AlignedBuffer();
    buffer = AlignedBuffer(static_cast<std::size_t>(bytes));
  }
  return buffer;
}

Product make_product(const PackedMatrix& w, const SourceRows& x, const Isa& isa,
                     Executor& executor) {
  const RowKernel chosen = row_kernel(isa, w.format(), x.format);
  const std::int64_t token_bytes = chosen.token_bytes(w.cols());
  Product product{chosen.kernel, w.view(), x.data, x.count, token_bytes};
  // One token is laid out as its row is.
  if (x.count == 0 || (x.count == 1 && x.format == chosen.format)) return product;
  std::byte* packed = packed_x(x.count * token_bytes).data();
  product.x = packed;
  const std::int64_t items = ceil_div(x.count, kItemTokens);
  std::atomic<std::int64_t> next{0};
  auto work = [&](int) {
    for (;;) {
      const std::int64_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) return;
      const std::int64_t token = item * kItemTokens;
      pack_x(
          isa, chosen,
          {x.data + token * x.stride, std::min(kItemTokens, x.count - token), x.stride, x.format},
          w.cols(), packed + token * token_bytes);
    }
  };
  if (items == 1) {
    work(0);
  } else {
    executor.run(work);
  }
  return product;
}

template <typename T>
SourceRows rows_of(RowsView<const T> x, std::int64_t cols) {
  check_view("x", x.rows, x.stride, cols);
  return {reinterpret_cast<const std::byte*>(x.data), x.rows,
          x.stride * static_cast<std::int64_t>(sizeof(T)),
          sizeof(T) == 4 ? RowFormat::f32 : RowFormat::bf16};
}

}  // namespace

void linear(const PackedMatrix& w, RowsView<const float> x, RowsView<float> out, Executor& executor,
            const Isa* isa) {
  check_view("out", x.rows, out.stride, w.rows());
  const Product product =
      make_product(w, rows_of(x, w.cols()), isa != nullptr ? *isa : default_isa(), executor);
  run_linear(product, out.data, out.stride, executor);
}

void linear(const PackedMatrix& w, RowsView<const std::uint16_t> x, RowsView<float> out,
            Executor& executor, const Isa* isa) {
  check_view("out", x.rows, out.stride, w.rows());
  const Product product =
      make_product(w, rows_of(x, w.cols()), isa != nullptr ? *isa : default_isa(), executor);
  run_linear(product, out.data, out.stride, executor);
}

void gated_linear(const PackedMatrix& gate_up, Activation activation, RowsView<const float> x,
                  RowsView<float> out, Executor& executor, const Isa* isa) {
  const Isa& used = isa != nullptr ? *isa : default_isa();
  check_view("out", x.rows, out.stride, gate_up.gate_rows());
  const Product product = make_product(gate_up, rows_of(x, gate_up.cols()), used, executor);
  run_gated(product, used, gated_code(activation), gate_up.gate_rows(), RowFormat::f32, out.data,
            out.stride, executor);
}

void gated_linear(const PackedMatrix& gate_up, Activation activation,
                  RowsView<const std::uint16_t> x, RowsView<std::uint16_t> out, Executor& executor,
                  const Isa* isa) {
  const Isa& used = isa != nullptr ? *isa : default_isa();
  check_view("out", x.rows, out.stride, gate_up.gate_rows());
  const Product product = make_product(gate_up, rows_of(x, gate_up.cols()), used, executor);
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
