#include "kernels/linear.hpp"

#include <algorithm>
#include <atomic>

#include "base/aligned_buffer.hpp"
#include "base/fail.hpp"
#include "kernels/isa_list.hpp"
#include "kernels/packed_rows.hpp"
#include "kernels/panel_session.hpp"

namespace sluice {
namespace {

// Panels and tokens of one item of work. x of an item stays in a server core's L2 while panels
// stream past it, each used by all its tokens: half of 2 MiB, and no more than are needed for
// the products to take longer than the panels' way from memory.
constexpr std::int64_t kItemPanels = 8;
constexpr std::int64_t kItemBytes = std::int64_t{1} << 20;
constexpr std::int64_t kMostItemTokens = 512;
// Kernels take wider x in parts: fewer tokens would read every weight too often.
constexpr std::int64_t kWideToken = 8192;
// Where the item's results are a buffer: 64 KiB.
constexpr std::int64_t kMostGatedTokens = 128;
// Tokens of an item where one worker multiplies them by all panels: 512 KiB of fp32 x at a width of
// 1024.
constexpr std::int64_t kNarrowTokens = 128;
// Below this many products, waking another thread costs more than it saves (about 2 us).
constexpr std::int64_t kSerialProducts = 1 << 16;

// A product whose x is in the kernel's layout, one item's tokens after another's.
struct Product {
  const PanelKernel* kernel;
  PackedView w;
  const std::byte* x;
  std::int64_t tokens;
  std::int64_t token_bytes;
  std::int64_t item_tokens;
  bool out_streams = false;

  const std::byte* panel(std::int64_t index) const { return w.data + index * w.panel_stride(); }
};

// Tokens by panels, and the panel that the same worker multiplies next, or -1.
struct Item {
  std::int64_t token, tokens;
  std::int64_t panel, panels;
  std::int64_t next_panel;
};

void multiply(const Product& product, const Item& item, float* c, std::int64_t c_stride) {
  product.kernel->run({product.x + item.token * product.token_bytes, product.panel(item.panel),
                       product.w.panel_stride(), c, c_stride, item.tokens, item.panels,
                       product.w.cols,
                       item.next_panel < 0 ? nullptr : product.panel(item.next_panel),
                       product.w.panel_stride(), product.out_streams});
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Calls run(item) over the whole product, work-stealing. Panels come in pairs; narrow products are
// cut finer, so that every worker gets a few items. Panels are the inner loop: x of an item stays.
// Items are claimed one ahead, so that the next one's weights are on their way.
template <typename Run>
void for_each_item(const Product& product, Executor& executor, Run run) {
  const std::int64_t token_items = ceil_div(product.tokens, product.item_tokens);
  std::int64_t step = kItemPanels;
  while (step > 2 && token_items * ceil_div(product.w.panels(), step) < 4 * executor.workers()) {
    step /= 2;
  }
  const std::int64_t panel_items = ceil_div(product.w.panels(), step);
  const std::int64_t items = token_items * panel_items;
  std::atomic<std::int64_t> next{0};
  auto work = [&](int) {
    const PanelSession session(*product.kernel);
    std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
    while (index < items) {
      const std::int64_t after = next.fetch_add(1, std::memory_order_relaxed);
      const std::int64_t token = index / panel_items * product.item_tokens;
      const std::int64_t panel = index % panel_items * step;
      run(Item{token, std::min(product.item_tokens, product.tokens - token), panel,
               std::min(step, product.w.panels() - panel),
               after < items ? after % panel_items * step : -1});
      index = after;
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
  for_each_item(product, executor, [&](Item item) {
    const std::int64_t direct = std::min(item.panels, whole - item.panel);
    const bool partial = direct < item.panels;
    float* to = out + item.token * out_stride + item.panel * kPanelRows;
    if (direct > 0) {
      Item first = item;
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
void run_gated(const Product& product, const Isa& isa, ActivationCode activation,
               std::int64_t width, RowFormat out_format, Out* out, std::int64_t out_stride,
               Executor& executor) {
  for_each_item(product, executor, [&](const Item& item) {
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

// Of the thread that calls; the executor's workers fill it and read it. Grows to the largest x.
AlignedBuffer& packed_x(std::int64_t bytes) {
  thread_local AlignedBuffer buffer;
  if (static_cast<std::int64_t>(buffer.size()) < bytes) {
    buffer = AlignedBuffer();
    buffer = AlignedBuffer(static_cast<std::size_t>(bytes));
  }
  return buffer;
}

// Nearly equal items, of whole tiles of AMX.
std::int64_t tokens_of_item(std::int64_t tokens, std::int64_t token_bytes, std::int64_t most) {
  constexpr std::int64_t kWhole = 32;
  most = std::min(most, kItemBytes / std::min(token_bytes, kWideToken));
  const std::int64_t tiles = ceil_div(std::max<std::int64_t>(tokens, 1), kWhole);
  const std::int64_t items = ceil_div(tiles, std::max<std::int64_t>(most / kWhole, 1));
  return ceil_div(tiles, items) * kWhole;
}

// `as`: what x is rounded to; fp32 kernels then take it as fp32 values.
RowKernel kernel_for(const Isa& isa, const PackedMatrix& w, const SourceRows& x, RowFormat as) {
  RowKernel chosen = row_kernel(isa, w.format(), as);
  if (x.format != as && chosen.format == RowFormat::f32) chosen.format = RowFormat::f32_bf16;
  return chosen;
}

Product make_product(const PackedMatrix& w, const SourceRows& x, RowFormat as, const Isa& isa,
                     std::int64_t most_item_tokens, Executor& executor) {
  const RowKernel chosen = kernel_for(isa, w, x, as);
  const std::int64_t token_bytes = chosen.token_bytes(w.cols());
  Product product{chosen.kernel, w.view(),
                  x.data,        x.count,
                  token_bytes,   tokens_of_item(x.count, token_bytes, most_item_tokens)};
  // One token is laid out as its row is.
  if (x.count == 0 || (x.count == 1 && x.format == chosen.format)) return product;
  std::byte* packed = packed_x(x.count * token_bytes).data();
  product.x = packed;
  const std::int64_t items = ceil_div(x.count, product.item_tokens);
  std::atomic<std::int64_t> next{0};
  auto work = [&](int) {
    for (;;) {
      const std::int64_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) return;
      const std::int64_t token = item * product.item_tokens;
      pack_x(isa, chosen,
             {x.data + token * x.stride, std::min(product.item_tokens, x.count - token), x.stride,
              x.format},
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

// All work on the thread that calls.
class Serial final : public Executor {
 public:
  int workers() const override { return 1; }
  void run(const Task& task) override { task(0); }
};

void dense_by_panels(const PackedMatrix& w, const SourceRows& x, RowFormat as, RowsView<float> out,
                     Executor& executor, const Isa& isa) {
  Product product = make_product(w, x, as, isa, kMostItemTokens, executor);
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
  const Product product = make_product(gate_up, x, as, used, kMostGatedTokens, executor);
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
