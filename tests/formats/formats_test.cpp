#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <vector>

#include <sluice/error.hpp>

#include "base/float_types.hpp"
#include "formats/format.hpp"
#include "formats/int4.hpp"
#include "spec/choices.hpp"

namespace sluice::formats {
namespace {

// Rows of very different magnitude, so that a scale taken from the wrong row, block or group shows.
std::vector<float> random_matrix(MatrixSize size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (std::int64_t row = 0; row < size.rows; ++row) {
    for (std::int64_t column = 0; column < size.columns; ++column) {
      const float scale = std::exp2(static_cast<float>(row % 5 - column / 64 % 3));
      values.push_back(normal(random) * scale);
    }
  }
  return values;
}

std::vector<float> unpacked(WeightFormat id, const EncodedMatrix& matrix, MatrixSize size) {
  std::vector<float> out(static_cast<std::size_t>(size.rows * size.columns), -77.0f);
  unpack(id, matrix, size, out);
  return out;
}

struct RoundTrip {
  WeightFormat id;
  std::int64_t block_rows, block_columns;  // 0: the whole extent
  // Largest error as a share of the block's largest magnitude, plus a share of the value itself.
  float of_block, of_value;
};

class FormatRoundTrip : public testing::TestWithParam<RoundTrip> {};

TEST_P(FormatRoundTrip, ErrorIsWithinHalfAStepOfTheBlock) {
  const RoundTrip& param = GetParam();
  const MatrixSize size{130, 256};
  const auto in = random_matrix(size, 7);
  const PackedMatrix packed = pack(param.id, in, size);
  const auto out = unpacked(param.id, packed.view(), size);
  const std::int64_t rows = param.block_rows ? param.block_rows : size.rows;
  const std::int64_t columns = param.block_columns ? param.block_columns : size.columns;
  std::map<std::pair<std::int64_t, std::int64_t>, float> largest;
  const auto each = [&](auto&& visit) {
    for (std::int64_t row = 0; row < size.rows; ++row) {
      for (std::int64_t column = 0; column < size.columns; ++column) {
        visit(static_cast<std::size_t>(row * size.columns + column),
              std::pair{row / rows, column / columns});
      }
    }
  };
  each([&](std::size_t i, auto block) {
    largest[block] = std::max(largest[block], std::fabs(in[i]));
  });
  each([&](std::size_t i, auto block) {
    ASSERT_LE(std::fabs(out[i] - in[i]),
              param.of_block * largest[block] + param.of_value * std::fabs(in[i]))
        << "row " << block.first << ", element " << i;
  });
}

// e4m3 keeps 4 bits: half a step is 1/16 of a value, or half of 2^-9 of the scale below 2^-6.
// mxfp4's scale is a power of two, so the largest value may saturate from just under 8 to 6.
INSTANTIATE_TEST_SUITE_P(
    Formats, FormatRoundTrip,
    testing::Values(RoundTrip{WeightFormat::f32, 1, 1, 0, 0},
                    RoundTrip{WeightFormat::bf16, 1, 1, 0, 0x1p-8f},
                    RoundTrip{WeightFormat::f16, 1, 1, 0x1p-25f, 0x1p-11f},
                    RoundTrip{WeightFormat::fp8_e4m3_tensor, 0, 0, 0x1p-10f / 448, 1 / 15.9f},
                    RoundTrip{WeightFormat::fp8_e4m3_channel, 1, 0, 0x1p-10f / 448, 1 / 15.9f},
                    RoundTrip{WeightFormat::fp8_e4m3_block128, 128, 128, 0x1p-10f / 448, 1 / 15.9f},
                    RoundTrip{WeightFormat::mxfp4, 1, 32, 0.25f, 0},
                    RoundTrip{WeightFormat::nvfp4, 1, 16, 1 / 6.0f * 1.13f, 0},
                    RoundTrip{WeightFormat::int4, 1, 32, 0.5f / 7 * 1.001f, 0}),
    [](const auto& info) { return std::string(choice_name(info.param.id)); });

TEST(Formats, PackingWhatWasUnpackedChangesNothing) {
  const MatrixSize size{6, 128};
  for (std::size_t i = 0; i < Choices<WeightFormat>::kNames.size(); ++i) {
    const auto id = static_cast<WeightFormat>(i);
    ASSERT_EQ(format(id).id, id);
    const auto once = unpacked(id, pack(id, random_matrix(size, 3), size).view(), size);
    const auto twice = unpacked(id, pack(id, once, size).view(), size);
    for (std::size_t j = 0; j < once.size(); ++j) {
      ASSERT_NEAR(once[j], twice[j], std::fabs(once[j]) * 1e-6f)
          << Choices<WeightFormat>::kNames[i];
    }
  }
}

template <typename T>
TensorView view(const std::vector<T>& data, DType dtype, Shape shape) {
  return {data.data(), dtype, shape, {}};
}

TEST(Formats, Mxfp4KnownBits) {
  // Low nibble first: 0x72 is 1, 6; 0xf1 is 0.5, -6.
  std::vector<std::uint8_t> values(32, 0);
  values[0] = 0x72;
  values[1] = 0xf1;
  values[16] = 0x72;
  const std::vector<std::uint8_t> scales{128, 126};  // x2, x0.5
  const EncodedMatrix matrix{view(values, DType::u8, {1, 32}),
                             view(scales, DType::f8_e8m0, {1, 2})};
  const auto out = unpacked(WeightFormat::mxfp4, matrix, {1, 64});
  EXPECT_EQ(out[0], 2.0f);
  EXPECT_EQ(out[1], 12.0f);
  EXPECT_EQ(out[2], 1.0f);
  EXPECT_EQ(out[3], -12.0f);
  EXPECT_EQ(out[32], 0.5f);
  EXPECT_EQ(out[33], 3.0f);
}

TEST(Formats, Nvfp4KnownBits) {
  std::vector<std::uint8_t> values(16, 0);
  values[0] = 0x9c;                                    // -2, -0.5
  values[8] = 0x05;                                    // 3
  const std::vector<std::uint8_t> scales{0x40, 0x7e};  // 2, 448
  const EncodedMatrix matrix{view(values, DType::f4, {1, 32}), view(scales, DType::f8_e4m3, {1, 2}),
                             0.25f};
  const auto out = unpacked(WeightFormat::nvfp4, matrix, {1, 32});
  EXPECT_EQ(out[0], -1.0f);
  EXPECT_EQ(out[1], -0.25f);
  EXPECT_EQ(out[16], 3 * 448 * 0.25f);
}

TEST(Formats, Int4KnownBitsInBothGroupings) {
  std::vector<std::uint8_t> values(128, 0x88);  // all zeros
  values[0] = 0xf0;                             // -8, 7
  values[64] = 0x79;                            // column 128: 1, column 129: -1
  const std::vector<float> two{0.5f, 3.0f};
  const EncodedMatrix large{view(values, DType::i32, {1, 32}), view(two, DType::f32, {1, 2})};
  auto out = unpacked(WeightFormat::int4, large, {1, 256});
  EXPECT_EQ(out[0], -4.0f);
  EXPECT_EQ(out[1], 3.5f);
  EXPECT_EQ(out[128], 3.0f);
  EXPECT_EQ(out[129], -3.0f);
  const std::vector<std::uint16_t> eight{0x3f80, 0, 0, 0, 0xc000, 0, 0, 0};  // bf16 1 and -2
  const EncodedMatrix small{view(values, DType::u8, {1, 128}), view(eight, DType::bf16, {1, 8})};
  out = unpacked(WeightFormat::int4, small, {1, 256});
  EXPECT_EQ(out[0], -8.0f);
  EXPECT_EQ(out[128], -2.0f);
}

TEST(Formats, Int4LargeGroupsRoundTrip) {
  const MatrixSize size{3, 256};
  const auto in = random_matrix(size, 11);
  const PackedMatrix packed = pack_int4(in, size, kInt4LargeGroup);
  EXPECT_EQ(packed.scales_form.shape, (Shape{3, 2}));
  const auto out = unpacked(WeightFormat::int4, packed.view(), size);
  const auto [low, high] = std::minmax_element(in.begin(), in.begin() + 128);
  const float largest = std::max(-*low, *high);
  for (std::size_t i = 0; i < 128; ++i) EXPECT_NEAR(out[i], in[i], largest / 14 * 1.001f);
  EXPECT_THROW(pack_int4(in, size, 64), Error);
}

TEST(Formats, Fp8BlockScalesSitWhereTheBlocksAre) {
  const MatrixSize size{130, 136};                          // ragged last block in both directions
  const std::vector<std::uint8_t> values(130 * 136, 0x38);  // 1.0
  const std::vector<float> scales{2, 3, 5, 7};
  const EncodedMatrix matrix{view(values, DType::f8_e4m3, {130, 136}),
                             view(scales, DType::f32, {2, 2})};
  const auto out = unpacked(WeightFormat::fp8_e4m3_block128, matrix, size);
  EXPECT_EQ(out[127 * 136 + 127], 2.0f);
  EXPECT_EQ(out[127 * 136 + 128], 3.0f);
  EXPECT_EQ(out[128 * 136 + 127], 5.0f);
  EXPECT_EQ(out[129 * 136 + 135], 7.0f);
}

TEST(Formats, F32WeightsStandForTheirRounding) {
  const std::vector<float> in{1.0009765625f, -3.14159f};
  const EncodedMatrix matrix{view(in, DType::f32, {1, 2}), {}};
  const auto out = unpacked(WeightFormat::bf16, matrix, {1, 2});
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], round_to_bf16(-3.14159f));
  EXPECT_EQ(unpacked(WeightFormat::f16, matrix, {1, 2})[0], 1.0009765625f);
}

TEST(Formats, ZerosAndTinyBlocksStayFinite) {
  const MatrixSize size{2, 128};
  for (float value : {0.0f, 1e-45f, -1e-40f}) {
    const std::vector<float> in(256, value);
    for (std::size_t i = 0; i < Choices<WeightFormat>::kNames.size(); ++i) {
      const auto id = static_cast<WeightFormat>(i);
      for (float out : unpacked(id, pack(id, in, size).view(), size)) {
        ASSERT_LE(std::fabs(out), 1e-38f) << Choices<WeightFormat>::kNames[i] << " of " << value;
      }
    }
  }
}

TEST(Formats, RefusesWhatDoesNotFit) {
  std::vector<float> out(64);
  const std::vector<std::uint8_t> values(64);
  const std::vector<std::uint8_t> scales(4);
  const TensorView good = view(values, DType::u8, {2, 16});
  const TensorView scale = view(scales, DType::u8, {2, 1});
  EXPECT_NO_THROW(unpack(WeightFormat::mxfp4, {good, scale}, {2, 32}, out));
  EXPECT_THROW(unpack(WeightFormat::mxfp4, {good, {}}, {2, 32}, out), Error);
  EXPECT_THROW(unpack(WeightFormat::mxfp4, {good, scale}, {2, 24}, out), Error);
  EXPECT_THROW(unpack(WeightFormat::mxfp4, {good, scale}, {4, 32}, out), Error);
  EXPECT_THROW(unpack(WeightFormat::mxfp4, {scale, scale}, {2, 32}, out), Error);
  EXPECT_THROW(unpack(WeightFormat::f32, {view(out, DType::f32, {2, 32}), scale}, {2, 32}, out),
               Error);
  const std::vector<float> bad(32, std::nanf(""));
  EXPECT_THROW(pack(WeightFormat::int4, bad, {1, 32}), Error);
}

}  // namespace
}  // namespace sluice::formats
