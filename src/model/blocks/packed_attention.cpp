// Attention over a PackedKvCache: both products are panel products, a page of keys at a time.
//
// A row's bits depend on the pages of what it sees and on nothing else: positions that its block
// multiplies and it does not see have weight 0, which adds nothing to a sum.
#include <array>

#include "kernels/isa_list.hpp"
#include "kernels/packed_rows.hpp"
#include "kernels/panel_session.hpp"
#include "model/blocks/attention.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {
namespace {

// Rows that are multiplied, weighted and summed before the next ones: their scores against a page
// stay in the first cache, and AMX takes two tiles of 16.
constexpr std::int64_t kBlockRows = 32;
constexpr std::int64_t kSpan = PackedKvCache::kTokens;
// Floats between rows of scores: not a power of two, which would put them on few sets of the cache.
constexpr std::int64_t kScoreStride = kSpan + kPanelRows;

}  // namespace

struct Attention::PackedTile {
  RowKernel kernel;
  std::int64_t dim;
  std::int64_t value_stride;         // floats
  std::span<std::byte> queries;      // [rows], block by block as the product wants its x
  std::span<float> scores;           // [kBlockRows, kScoreStride]: of one block, as all below
  std::span<std::uint16_t> weights;  // [kBlockRows, kSpan] bf16, where the product wants others
  std::span<std::byte> packed_weights;
  std::span<float> product;           // [kBlockRows, value_stride]: weights · values of one page
  std::span<float> sums;              // [rows, value_stride]: of all pages so far
  std::span<RunningSoftmax> running;  // [rows]
  std::array<float, kBlockRows> factors;  // what sums take before the page's product is added

  float* sum(std::int64_t row) const { return sums.data() + row * value_stride; }
  // bf16 in groups as softmax writes them.
  bool takes_weights() const {
    return kernel.format == RowFormat::bf16 && kernel.kernel->layout.group == kSoftmaxGroup;
  }
};

// Rows [first, first + rows) of a tile against positions [begin, begin + count) of the page that
// starts at `start`.
struct Attention::PackedBlock {
  std::int64_t first, rows;
  std::int64_t start;
  std::int64_t begin, count;  // whole groups
  bool first_page;
};

Attention::PackedTile Attention::take_tile(std::int64_t rows, Workspace& workspace) const {
  PackedTile tile;
  tile.kernel = row_kernel(default_isa(), PackedFormat::bf16, RowFormat::bf16);
  tile.dim = shape_.head_dim;
  tile.value_stride = panel_count(tile.dim) * kPanelRows;
  tile.queries = workspace.take<std::byte>(rows * tile.kernel.token_bytes(tile.dim));
  tile.scores = workspace.take<float>(kBlockRows * kScoreStride);
  tile.weights = workspace.take<std::uint16_t>(kBlockRows * kSpan);
  tile.packed_weights = workspace.take<std::byte>(kBlockRows * tile.kernel.token_bytes(kSpan));
  tile.product = workspace.take<float>(kBlockRows * tile.value_stride);
  tile.sums = workspace.take<float>(rows * tile.value_stride);
  tile.running = workspace.take<RunningSoftmax>(rows);
  return tile;
}

void Attention::pack_queries(const Task& task, const Rows& rows, std::int64_t first,
                             std::int64_t count, const PackedTile& tile) const {
  std::array<const void*, kBlockRows> sources;
  for (std::int64_t r = 0; r < count; ++r) {
    sources[static_cast<std::size_t>(r)] = query(task, rows, first + r);
    tile.running[static_cast<std::size_t>(first + r)] = {-__builtin_inff(), 0.0f};
  }
  pack_x(default_isa(), tile.kernel, std::span(sources).first(static_cast<std::size_t>(count)),
         RowFormat::f32, tile.dim, tile.queries.data() + first * tile.kernel.token_bytes(tile.dim));
}

// Scores of a block to weights, in the layout that the next product takes.
void Attention::weigh(const Task& task, const PackedBlock& block, PackedTile& tile) const {
  const bool direct = tile.takes_weights();
  const std::int64_t group = shape_.group();
  const std::int64_t from = block.start + block.begin;
  const XLayout& layout = tile.kernel.kernel->layout;
  const std::int64_t tiles = tile_count(layout, block.rows);
  std::array<SoftmaxSpan, kBlockRows> spans;
  // The row's token, and how many of its heads are left.
  std::int64_t position = task.entry->position + task.first + block.first / group;
  std::int64_t left = group - block.first % group;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t begin = tile_begin(block.rows, tiles, t);
    const std::int64_t end = tile_begin(block.rows, tiles, t + 1);
    for (std::int64_t r = begin; r < end; ++r) {
      SoftmaxSpan& span = spans[static_cast<std::size_t>(r)];
      span.scores = tile.scores.data() + r * kScoreStride;
      span.first = std::clamp<std::int64_t>(first_seen(position) - from, 0, block.count);
      span.last = std::clamp<std::int64_t>(position + 1 - from, 0, block.count);
      span.count = block.count;
      span.scale = static_cast<float>(shape_.scale);
      span.weights = tile.weights.data() + r * kSpan;
      span.group_stride = kSoftmaxGroup;
      if (direct) {
        span.weights = reinterpret_cast<std::uint16_t*>(tile.packed_weights.data()) +
                       begin * block.count + (r - begin) * kSoftmaxGroup;
        span.group_stride = (end - begin) * kSoftmaxGroup;
      }
      if (--left == 0) {
        ++position;
        left = group;
      }
    }
  }
  primitives().softmax_spans(spans.data(), block.rows, tile.running.data() + block.first,
                             tile.factors.data());
  if (direct) return;
  pack_x(default_isa(), tile.kernel,
         {reinterpret_cast<const std::byte*>(tile.weights.data()), block.rows,
          kSpan * static_cast<std::int64_t>(sizeof(std::uint16_t)), RowFormat::bf16},
         block.count, tile.packed_weights.data());
}

void Attention::attend_block(const Task& task, const PackedKvCache& cache, const PackedBlock& block,
                             PackedTile& tile) const {
  const auto& run = tile.kernel.kernel->run;
  // The first block of a tile brings a page near for the others.
  const bool near = task.rows * shape_.group() > kBlockRows;
  const PackedView keys = cache.keys(block.start, task.kv_head);
  run({tile.queries.data() + block.first * tile.kernel.token_bytes(tile.dim),
       keys.data + block.begin / kPanelRows * keys.panel_stride(), keys.panel_stride(),
       tile.scores.data(), kScoreStride, block.rows, block.count / kPanelRows, tile.dim, nullptr, 0,
       false, near});
  weigh(task, block, tile);
  const PackedView values = cache.values(block.start, task.kv_head);
  float* product = block.first_page ? tile.sum(block.first) : tile.product.data();
  run({tile.packed_weights.data(), values.data + panel_bytes(PackedFormat::bf16, block.begin),
       values.panel_stride(), product, tile.value_stride, block.rows, values.panels(), block.count,
       nullptr, 0, false, near});
  for (std::int64_t r = 0; r < block.rows && !block.first_page; ++r) {
    primitives().scale_add(tile.sum(block.first + r), tile.factors[static_cast<std::size_t>(r)],
                           tile.product.data() + r * tile.value_stride, tile.dim);
  }
}

void Attention::attend_packed(const Task& task, std::int64_t layer, const Rows& rows,
                              Scratch& scratch) const {
  const auto& cache = static_cast<const PackedKvCache&>(task.entry->sequence->layer(layer));
  const std::int64_t tile_rows = task.rows * shape_.group();
  const std::int64_t first_query = task.entry->position + task.first;
  Workspace counted;
  take_tile(tile_rows, counted);
  if (scratch.packed.size() < counted.used()) scratch.packed = AlignedBuffer(counted.used());
  Workspace workspace(scratch.packed.data());
  PackedTile tile = take_tile(tile_rows, workspace);

  const PanelSession session(*tile.kernel.kernel);
  for (std::int64_t first = 0; first < tile_rows; first += kBlockRows) {
    pack_queries(task, rows, first, std::min(kBlockRows, tile_rows - first), tile);
  }
  const auto whole_groups = [](std::int64_t count) {
    return (count + kSoftmaxGroup - 1) / kSoftmaxGroup * kSoftmaxGroup;
  };
  for_each_page(
      first_seen(first_query), first_query + task.rows,
      [&](std::int64_t at, auto) {
        PackedBlock block;
        block.start = at / kSpan * kSpan;
        for (block.first = 0; block.first < tile_rows; block.first += kBlockRows) {
          block.rows = std::min(kBlockRows, tile_rows - block.first);
          const std::int64_t seen = first_seen(first_query + block.first / shape_.group());
          const std::int64_t end =
              first_query + (block.first + block.rows - 1) / shape_.group() + 1;
          block.begin =
              std::max<std::int64_t>(seen - block.start, 0) / kSoftmaxGroup * kSoftmaxGroup;
          block.count = whole_groups(std::min(end - block.start, kSpan)) - block.begin;
          block.first_page = seen >= block.start;
          if (block.count > 0) attend_block(task, cache, block, tile);
        }
      },
      kSpan);

  for (std::int64_t r = 0; r < tile_rows; ++r) {
    finish(task, rows, r, tile.sum(r), 1.0f / tile.running[static_cast<std::size_t>(r)].sum);
  }
}

}  // namespace sluice
