#include <gtest/gtest.h>

#include "kernels/matrices.hpp"
#include "kernels/packed_matrix.hpp"

namespace sluice {
namespace {

using test::Matrix;

// The element of row r, column c, by the drawing in packed_matrix.hpp.
float element(const PackedView& view, std::int64_t r, std::int64_t c) {
  const std::byte* panel = view.data + r / 16 * view.panel_stride();
  switch (view.format) {
    case PackedFormat::f32:
      return load_float(panel, DType::f32, c * 16 + r % 16);
    case PackedFormat::f16:
      return load_float(panel, DType::f16, c * 16 + r % 16);
    case PackedFormat::bf16:
      return load_float(panel, DType::bf16, (c / 2 * 16 + r % 16) * 2 + c % 2);
  }
  return 0;
}

TEST(Packing, LaysEveryFormatOutAsDrawnAndRoundsWiderSources) {
  const auto executor = make_executor(2);
  for (DType source : {DType::f32, DType::bf16, DType::f16}) {
    for (PackedFormat format : {PackedFormat::f32, PackedFormat::bf16, PackedFormat::f16}) {
      const Matrix a(24, 18, source, 1u);
      const Matrix b(16, 18, source, 2u);
      const TensorView parts[] = {a.view(), b.view()};
      const PackedMatrix packed(parts, format, *executor);
      ASSERT_EQ(packed.rows(), 40);
      ASSERT_EQ(packed.bytes(), packed_bytes(format, 40, 18));
      for (std::int64_t r = 0; r < 48; ++r) {
        for (std::int64_t c = 0; c < 18; ++c) {
          float want = 0;  // padding
          if (r < 40) want = static_cast<float>(r < 24 ? a.at(r, c) : b.at(r - 24, c));
          if (format == PackedFormat::bf16) want = round_to_bf16(want);
          if (format == PackedFormat::f16) want = round_to_f16(want);
          ASSERT_EQ(element(packed.view(), r, c), want) << "row " << r << " column " << c;
        }
      }
    }
  }
}

TEST(Packing, ReadsUnalignedSources) {
  const auto executor = make_executor(1);
  const Matrix a(8, 8, DType::bf16, 3u);
  std::vector<std::byte> shifted(a.bytes.size() + 1);
  std::memcpy(shifted.data() + 1, a.bytes.data(), a.bytes.size());
  const TensorView view{shifted.data() + 1, DType::bf16, {8, 8}, {}};
  const PackedMatrix packed({&view, 1}, PackedFormat::bf16, *executor);
  for (std::int64_t r = 0; r < 8; ++r) EXPECT_EQ(element(packed.view(), r, 5), a.at(r, 5));
}

TEST(Packing, GateAndUpAlternateByPanels) {
  const auto executor = make_executor(1);
  const Matrix gate(24, 8, DType::f32, 4u);
  const Matrix up(24, 8, DType::f32, 5u);
  const auto packed = PackedMatrix::gate_up(gate.view(), up.view(), PackedFormat::f32, *executor);
  EXPECT_EQ(packed.gate_rows(), 24);
  ASSERT_EQ(packed.rows(), 64);
  for (std::int64_t r = 0; r < 24; ++r) {
    const std::int64_t at = r / 16 * 32 + r % 16;
    EXPECT_EQ(element(packed.view(), at, 3), gate.at(r, 3));
    EXPECT_EQ(element(packed.view(), at + 16, 3), up.at(r, 3));
  }
  EXPECT_EQ(element(packed.view(), 32 + 8, 3), 0);
}

TEST(Packing, RefusesWhatItCannotRead) {
  const auto executor = make_executor(1);
  const Matrix a(8, 8, DType::f32, 1u);
  TensorView quantised = a.view();
  quantised.dtype = DType::f8_e4m3;
  EXPECT_THROW(PackedMatrix({&quantised, 1}, PackedFormat::bf16, *executor), Error);
  const Matrix b(8, 16, DType::f32, 1u);
  const TensorView parts[] = {a.view(), b.view()};
  EXPECT_THROW(PackedMatrix(parts, PackedFormat::bf16, *executor), Error);
}

}  // namespace
}  // namespace sluice
