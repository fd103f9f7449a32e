// What must not change a product's bits: whether its results go past the caches, whether a session
// sets its kernel up, and whether x is so wide that it is taken in parts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/aligned_buffer.hpp"
#include "kernels/isa_list.hpp"
#include "kernels/matrices.hpp"
#include "kernels/packed_rows.hpp"
#include "kernels/panel_session.hpp"

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

struct Operands {
  Operands(const Isa& isa, const Sizes& sizes) {
    const auto executor = make_executor(1);
    const Matrix weights(sizes.panels * kPanelRows, sizes.cols, DType::bf16, 3u);
    const Matrix rows(sizes.tokens, sizes.cols, DType::bf16, 5u);
    const TensorView view = weights.view();
    w = PackedMatrix({&view, 1}, PackedFormat::bf16, *executor);
    const RowKernel kernel = row_kernel(isa, PackedFormat::bf16, RowFormat::bf16);
    x = AlignedBuffer(static_cast<std::size_t>(sizes.tokens * kernel.token_bytes(sizes.cols)));
    pack_x(isa, kernel, {rows.bytes.data(), sizes.tokens, sizes.cols * 2, RowFormat::bf16},
           sizes.cols, x.data());
  }
  PackedMatrix w;
  AlignedBuffer x;
};

TEST(Streamed, HasTheBitsOfTheProductInCache) {
  for (const Isa* isa : present_isas()) {
    if (isa->bf16_bf16.run == nullptr) continue;
    for (const std::int64_t tokens : {1, 7, 16, 17, 32, 33, 49, 100}) {
      for (const std::int64_t panels : {1, 2, 5}) {
        for (const std::int64_t cols : {24, 64, 200}) {
          for (const std::int64_t offset : {0, 3}) {
            const Sizes sizes{tokens, panels, cols, 3, offset};
            const Operands operands(*isa, sizes);
            const PackedMatrix& w = operands.w;
            const AlignedBuffer& packed = operands.x;
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

// 1.6 MB of x, in tiles of 12 and 13 tokens, against tokens one by one.
TEST(WideRows, HaveTheBitsOfTheirTokensAlone) {
  for (const Isa* isa : present_isas()) {
    if (isa->bf16_bf16.run == nullptr) continue;
    const Sizes sizes{50, 3, 16424, 0, 0};
    const Operands operands(*isa, sizes);
    const auto whole = product(*isa, sizes, operands.w, operands.x.data(), false);
    ASSERT_FALSE(std::isnan(whole.front()));
    const std::int64_t width = sizes.panels * kPanelRows;
    const Matrix rows(sizes.tokens, sizes.cols, DType::bf16, 5u);
    std::vector<std::byte> x(static_cast<std::size_t>(sizes.cols + 32) * 2);
    for (std::int64_t token = 0; token < sizes.tokens; ++token) {
      std::memcpy(x.data(), rows.bytes.data() + token * sizes.cols * 2,
                  static_cast<std::size_t>(sizes.cols) * 2);
      const auto alone =
          product(*isa, {1, sizes.panels, sizes.cols, 0, 0}, operands.w, x.data(), false);
      ASSERT_EQ(0, std::memcmp(whole.data() + token * width, alone.data(),
                               static_cast<std::size_t>(width) * sizeof(float)))
          << isa->name << " token " << token;
    }
  }
}

// Products of one session, of every height in turn, and one after it.
TEST(Session, HasTheBitsOfProductsOnTheirOwn) {
  for (const Isa* isa : present_isas()) {
    if (isa->bf16_bf16.run == nullptr) continue;
    const auto check = [&](std::int64_t tokens, const std::vector<float>& alone) {
      const Sizes sizes{tokens, 3, 72, 0, 0};
      const Operands operands(*isa, sizes);
      const auto again = product(*isa, sizes, operands.w, operands.x.data(), false);
      ASSERT_EQ(0, std::memcmp(alone.data(), again.data(), alone.size() * sizeof(float)))
          << isa->name << " " << tokens;
    };
    const std::int64_t heights[] = {1, 40, 7, 16, 1, 3};
    std::vector<std::vector<float>> alone;
    for (const std::int64_t tokens : heights) {
      const Sizes sizes{tokens, 3, 72, 0, 0};
      const Operands operands(*isa, sizes);
      alone.push_back(product(*isa, sizes, operands.w, operands.x.data(), false));
      ASSERT_FALSE(std::isnan(alone.back().front()));
    }
    {
      const PanelSession session(isa->bf16_bf16);
      for (std::size_t i = 0; i < alone.size(); ++i) check(heights[i], alone[i]);
    }
    check(heights[1], alone[1]);
  }
}

}  // namespace
}  // namespace sluice
