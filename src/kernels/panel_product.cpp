#include "kernels/panel_product.hpp"

#include "base/aligned_buffer.hpp"
#include "kernels/isa_list.hpp"

namespace sluice {
namespace {

constexpr std::int64_t kItemBytes = std::int64_t{1} << 20;
// Kernels take wider x in parts: fewer tokens would read every weight too often.
constexpr std::int64_t kWideToken = 8192;

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

}  // namespace

PanelProduct make_product(const PackedMatrix& w, const SourceRows& x, RowFormat as, const Isa& isa,
                          std::int64_t most_item_tokens, Executor& executor) {
  const RowKernel chosen = kernel_for(isa, w, x, as);
  const std::int64_t token_bytes = chosen.token_bytes(w.cols());
  PanelProduct product{chosen.kernel, w.view(),
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

void multiply(const PanelProduct& product, const ProductItem& item, float* c,
              std::int64_t c_stride) {
  product.kernel->run({product.x + item.token * product.token_bytes, product.panel(item.panel),
                       product.w.panel_stride(), c, c_stride, item.tokens, item.panels,
                       product.w.cols,
                       item.next_panel < 0 ? nullptr : product.panel(item.next_panel),
                       product.w.panel_stride(), product.out_streams});
}

}  // namespace sluice
