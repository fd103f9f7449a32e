// A dense product cut into items that workers take from one counter: tokens by panels, x in the
// kernel's layout.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <sluice/executor.hpp>

#include "base/parts.hpp"
#include "kernels/isa.hpp"
#include "kernels/packed_matrix.hpp"
#include "kernels/packed_rows.hpp"
#include "kernels/panel_session.hpp"

namespace sluice {

// Panels and tokens of one item of work. x of an item stays in a server core's L2 while panels
// stream past it, each used by all its tokens: half of 2 MiB, and no more than are needed for
// the products to take longer than the panels' way from memory.
inline constexpr std::int64_t kItemPanels = 8;
inline constexpr std::int64_t kMostItemTokens = 512;
// Below this many products, waking another thread costs more than it saves (about 2 us).
inline constexpr std::int64_t kSerialProducts = 1 << 16;

// x: one item's tokens after another's.
struct PanelProduct {
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
struct ProductItem {
  std::int64_t token, tokens;
  std::int64_t panel, panels;
  std::int64_t next_panel;
};

// x laid out for the kernel that takes what `as` rounds it to, by the executor's workers, in memory
// of the thread that calls; it is overwritten by the next product of that thread. Items have at
// most `most_item_tokens` tokens.
PanelProduct make_product(const PackedMatrix& w, const SourceRows& x, RowFormat as, const Isa& isa,
                          std::int64_t most_item_tokens, Executor& executor);

// c [tokens, 16 * panels] of an item.
void multiply(const PanelProduct& product, const ProductItem& item, float* c,
              std::int64_t c_stride);

// Calls run(item) over the whole product, work-stealing. Panels come in pairs; narrow products are
// cut finer, so that every worker gets a few items. Panels are the inner loop: x of an item stays.
// Items are claimed one ahead, so that the next one's weights are on their way.
template <typename Run>
void for_each_item(const PanelProduct& product, Executor& executor, Run run) {
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
      run(ProductItem{token, std::min(product.item_tokens, product.tokens - token), panel,
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

}  // namespace sluice
