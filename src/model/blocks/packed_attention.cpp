// Attention over a PackedKvCache: both products are panel products, a page of keys at a time.
#include "kernels/isa_list.hpp"
#include "kernels/packed_rows.hpp"
#include "kernels/panel_session.hpp"
#include "model/blocks/attention.hpp"
#include "model/blocks/linear.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {
namespace {

static_assert(kSoftmaxPage == kPageTokens);

constexpr std::int64_t kHalf = sizeof(std::uint16_t);

}  // namespace

struct Attention::PackedTile {
  std::int64_t query_stride;  // elements, as the others
  std::int64_t weight_stride;
  std::int64_t value_stride;
  std::span<std::uint16_t> queries;     // [rows, query_stride] bf16
  std::span<float> scores;              // [rows, kPageTokens]
  std::span<std::uint16_t> weights;     // [rows, weight_stride] bf16
  std::span<std::byte> packed_queries;  // both once more, as the product wants its x
  std::span<std::byte> packed_weights;
  std::span<float> product;  // [rows, value_stride]: weights · values of one page
  std::span<float> sums;     // [rows, value_stride]: of all pages so far
  std::span<RunningSoftmax> running;
  std::span<float> factors;  // what a row's sums take before the page's product is added

  float* sum(std::int64_t row) const { return sums.data() + row * value_stride; }
};

Attention::PackedTile Attention::take_tile(std::int64_t rows, std::int64_t head_dim,
                                           Workspace& workspace) {
  const RowKernel kernel = row_kernel(default_isa(), PackedFormat::bf16, RowFormat::bf16);
  PackedTile tile;
  tile.query_stride = spread_stride(head_dim);
  tile.weight_stride = spread_stride(kPageTokens);
  tile.value_stride = panel_count(head_dim) * kPanelRows;
  tile.queries = workspace.take<std::uint16_t>(rows * tile.query_stride);
  tile.scores = workspace.take<float>(rows * kPageTokens);
  tile.weights = workspace.take<std::uint16_t>(rows * tile.weight_stride);
  tile.packed_queries = workspace.take<std::byte>(rows * kernel.token_bytes(head_dim));
  tile.packed_weights = workspace.take<std::byte>(rows * kernel.token_bytes(kPageTokens));
  tile.product = workspace.take<float>(rows * tile.value_stride);
  tile.sums = workspace.take<float>(rows * tile.value_stride);
  tile.running = workspace.take<RunningSoftmax>(rows);
  tile.factors = workspace.take<float>(rows);
  return tile;
}

void Attention::attend_packed(const Task& task, std::int64_t layer, const Rows& rows,
                              Scratch& scratch) const {
  const auto& cache = static_cast<const PackedKvCache&>(task.entry->sequence->layer(layer));
  const Primitives& simd = primitives();
  const Isa& isa = default_isa();
  const RowKernel multiply = row_kernel(isa, PackedFormat::bf16, RowFormat::bf16);
  const std::int64_t dim = shape_.head_dim;
  const std::int64_t tile_rows = task.rows * shape_.group();
  const std::int64_t first_query = task.entry->position + task.first;
  const auto scale = static_cast<float>(shape_.scale);

  Workspace counted;
  take_tile(tile_rows, dim, counted);
  if (scratch.packed.size() < counted.used()) scratch.packed = AlignedBuffer(counted.used());
  Workspace workspace(scratch.packed.data());
  const PackedTile tile = take_tile(tile_rows, dim, workspace);
  for (std::int64_t r = 0; r < tile_rows; ++r) {
    convert_to_bf16(query(task, rows, r), tile.queries.data() + r * tile.query_stride, dim);
    tile.running[static_cast<std::size_t>(r)] = {-__builtin_inff(), 0.0f};
  }

  const auto pack = [&](std::span<const std::uint16_t> from, std::int64_t stride, std::int64_t cols,
                        std::span<std::byte> to) {
    pack_x(isa, multiply,
           {reinterpret_cast<const std::byte*>(from.data()), tile_rows, stride * kHalf,
            RowFormat::bf16},
           cols, to.data());
  };
  pack(tile.queries, tile.query_stride, dim, tile.packed_queries);

  const PanelSession session(*multiply.kernel);
  bool first_page = true;
  for_each_page(first_seen(first_query), first_query + task.rows, [&](std::int64_t at, auto) {
    const std::int64_t start = at / kPageTokens * kPageTokens;
    const PackedView keys = cache.keys(at, task.kv_head);
    multiply.kernel->run({tile.packed_queries.data(), keys.data, keys.panel_stride(),
                          tile.scores.data(), kPageTokens, tile_rows, keys.panels(), dim, nullptr,
                          0, false});
    for (std::int64_t r = 0; r < tile_rows; ++r) {
      const std::int64_t position = first_query + r / shape_.group();
      tile.factors[static_cast<std::size_t>(r)] = simd.softmax_page_bf16(
          tile.scores.data() + r * kPageTokens,
          std::clamp<std::int64_t>(first_seen(position) - start, 0, kPageTokens),
          std::clamp<std::int64_t>(position + 1 - start, 0, kPageTokens), scale,
          &tile.running[static_cast<std::size_t>(r)], tile.weights.data() + r * tile.weight_stride);
    }
    const PackedView values = cache.values(at, task.kv_head);
    float* product = first_page ? tile.sums.data() : tile.product.data();
    pack(tile.weights, tile.weight_stride, kPageTokens, tile.packed_weights);
    multiply.kernel->run({tile.packed_weights.data(), values.data, values.panel_stride(), product,
                          tile.value_stride, tile_rows, values.panels(), kPageTokens, nullptr, 0,
                          false});
    for (std::int64_t r = 0; r < tile_rows && !first_page; ++r) {
      simd.scale_add(tile.sum(r), tile.factors[static_cast<std::size_t>(r)],
                     tile.product.data() + r * tile.value_stride, dim);
    }
    first_page = false;
  });

  for (std::int64_t r = 0; r < tile_rows; ++r) {
    const float inverse = 1.0f / tile.running[static_cast<std::size_t>(r)].sum;
    const float* sum = tile.sum(r);
    float* to = output(task, rows, r);
    for (std::int64_t i = 0; i < dim; ++i) to[i] = sum[i] * inverse;
  }
}

}  // namespace sluice
