// A product whose results go past the caches has the bits of one whose results do not, and writes
// nothing else.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/aligned_buffer.hpp"
#include "kernels/isa_list.hpp"
#include "kernels/matrices.hpp"
#include "kernels/packed_rows.hpp"

namespace sluice {
namespace {

using test::Matrix;

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kLine = 16;  // floats

struct Sizes {
  std::int64_t tokens, panels, cols;
  std::int64_t gap;     // lines between rows
  std::int64_t offset;  // floats before the first row: not whole lines cannot be streamed
};

// All of c, gaps included.
std::vector<float> product(const Isa& isa, const Sizes& sizes, const PackedMatrix& w,
                           const std::byte* x, bool streams) {
  const std::int64_t stride = (sizes.panels + sizes.gap) * kLine;
  const std::int64_t count = sizes.tokens * stride + kLine;
  AlignedBuffer memory(static_cast<std::size_t>(count) * sizeof(float));
  auto* c = reinterpret_cast<float*>(memory.data());
  std::fill_n(c, count, kPoison);
  isa.bf16_bf16.run({x, w.view().data, w.view().panel_stride(), c + sizes.offset, stride,
                     sizes.tokens, sizes.panels, sizes.cols, nullptr, 0, streams});
  return {c, c + count};
}

TEST(Streamed, HasTheBitsOfTheProductInCache) {
  const auto executor = make_executor(1);
  for (const Isa* isa : present_isas()) {
    if (isa->bf16_bf16.run == nullptr) continue;
    for (const std::int64_t tokens : {1, 7, 16, 17, 32, 33, 49, 100}) {
      for (const std::int64_t panels : {1, 2, 5}) {
        for (const std::int64_t cols : {24, 64, 200}) {
          for (const std::int64_t offset : {0, 3}) {
            const Sizes sizes{tokens, panels, cols, 3, offset};
            const Matrix weights(panels * kPanelRows, cols, DType::bf16, 3u);
            const Matrix x(tokens, cols, DType::bf16, 5u);
            const TensorView view = weights.view();
            const PackedMatrix w({&view, 1}, PackedFormat::bf16, *executor);
            const RowKernel kernel = row_kernel(*isa, PackedFormat::bf16, RowFormat::bf16);
            AlignedBuffer packed(static_cast<std::size_t>(tokens * kernel.token_bytes(cols)));
            pack_x(*isa, kernel, {x.bytes.data(), tokens, cols * 2, RowFormat::bf16}, cols,
                   packed.data());
            const auto cached = product(*isa, sizes, w, packed.data(), false);
            const auto streamed = product(*isa, sizes, w, packed.data(), true);
            ASSERT_EQ(0, std::memcmp(cached.data(), streamed.data(), cached.size() * sizeof(float)))
                << fmt::format("{} tokens {} panels {} cols {} offset {}", isa->name, tokens,
                               panels, cols, offset);
            ASSERT_FALSE(std::isnan(cached[static_cast<std::size_t>(offset)]));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice
