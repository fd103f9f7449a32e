// Paged softmax attention, plain and latent, against the definition in double.
#include "model/blocks/attention.hpp"

#include <gtest/gtest.h>

#include "base/float_types.hpp"
#include "kernels/linear.hpp"
#include "model/blocks/latent_attention.hpp"
#include "model/fake_model.hpp"

namespace sluice {
namespace {

using testing::FakeModel;
using testing::random_floats;

// softmax(q · k_j · scale) over j in [first, last] applied to the values.
std::vector<double> attend(const float* q, std::int64_t dim, double scale, std::int64_t first,
                           std::int64_t last, const std::function<const double*(std::int64_t)>& key,
                           const std::function<const double*(std::int64_t)>& value,
                           std::int64_t value_dim) {
  std::vector<double> weights, out(static_cast<std::size_t>(value_dim), 0.0);
  double most = -1e300, sum = 0.0;
  for (std::int64_t j = first; j <= last; ++j) {
    double score = 0.0;
    for (std::int64_t d = 0; d < dim; ++d) score += q[d] * key(j)[d];
    weights.push_back(score * scale);
    most = std::max(most, weights.back());
  }
  for (double& weight : weights) sum += weight = std::exp(weight - most);
  for (std::int64_t j = first; j <= last; ++j) {
    for (std::int64_t d = 0; d < value_dim; ++d) {
      out[static_cast<std::size_t>(d)] +=
          weights[static_cast<std::size_t>(j - first)] / sum * value(j)[d];
    }
  }
  return out;
}

std::vector<double> widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

struct Feed {
  std::int64_t before;  // positions in the cache when the batch comes
  std::int64_t rows;
};

// With gates, each output once more times the sigmoid of its own.
void expect_gates(Attention& attention, Compute& compute, const Batch& batch,
                  const std::vector<float>& queries, std::int64_t stride, const Matrix& plain) {
  std::mt19937 random(11);
  const auto gates = random_floats(queries.size(), random, -4.0f, 4.0f);
  Matrix out;
  attention(compute, batch, 0, queries.data(), gates.data(), stride, out);
  for (std::int64_t row = 0; row < plain.rows(); ++row) {
    for (std::int64_t i = 0; i < plain.columns(); ++i) {
      const double gate = gates[static_cast<std::size_t>(row * stride + i)];
      const double exact = plain.row(row)[i] / (1.0 + std::exp(-gate));
      ASSERT_NEAR(out.row(row)[i], exact, 1e-6 * std::abs(exact)) << row << ", " << i;
    }
  }
}

TEST(Attention, GroupedHeadsWindowsAndOffsets) {
  const std::vector<Feed> feeds{{0, 1}, {0, 150}, {63, 2}, {64, 1}, {131, 70}};
  for (const std::int64_t window : {0, 1, 40, 64, 200}) {
    const AttentionShape shape{
        .heads = 6, .kv_heads = 2, .head_dim = 10, .window = window, .scale = 0.7};
    std::mt19937 random(static_cast<unsigned>(window) + 1);
    FakeModel model;
    std::vector<std::unique_ptr<SequenceState>> sequences;
    std::vector<SequenceInput> inputs;
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<std::vector<double>> keys, values;  // [position, kv_heads, head_dim]
    ids.reserve(feeds.size());
    for (const Feed& feed : feeds) {
      const std::int64_t total = feed.before + feed.rows;
      const auto key = random_floats(static_cast<std::size_t>(total * 20), random, -3.0f, 3.0f);
      const auto value = random_floats(static_cast<std::size_t>(total * 20), random);
      auto cache = std::make_unique<KvCache>(2, 10, 10);
      cache->extend(feed.before);
      for (std::int64_t p = 0; p < feed.before; ++p) {
        cache->write(p, key.data() + p * 20, value.data() + p * 20);
      }
      // What a layer with this window has forgotten by now must not be needed.
      if (window > 0) cache->forget_before(std::max<std::int64_t>(0, feed.before - window + 1));
      cache->extend(feed.rows);
      for (std::int64_t p = feed.before; p < total; ++p) {
        cache->write(p, key.data() + p * 20, value.data() + p * 20);
      }
      std::vector<std::unique_ptr<LayerState>> layers;
      layers.push_back(std::move(cache));
      sequences.push_back(std::make_unique<SequenceState>(&model, std::move(layers)));
      sequences.back()->advance(feed.before);
      ids.emplace_back(static_cast<std::size_t>(feed.rows), 0);
      inputs.push_back({sequences.back().get(), ids.back(), 0});
      keys.push_back(widened(key));
      values.push_back(widened(value));
    }
    const Batch batch(model, inputs);
    Compute compute;
    compute.executor = make_executor(3);
    const std::int64_t stride = 60 + 7;
    const auto queries =
        random_floats(static_cast<std::size_t>(batch.rows() * stride), random, -2.0f, 2.0f);
    Attention attention(shape);
    Matrix out;
    attention(compute, batch, 0, queries.data(), nullptr, stride, out);
    expect_gates(attention, compute, batch, queries, stride, out);
    for (std::size_t s = 0; s < feeds.size(); ++s) {
      for (std::int64_t i = 0; i < feeds[s].rows; ++i) {
        const std::int64_t row = batch.entries()[s].first_row + i;
        const std::int64_t query = feeds[s].before + i;
        const std::int64_t first = window == 0 ? 0 : std::max<std::int64_t>(0, query - window + 1);
        for (std::int64_t head = 0; head < 6; ++head) {
          const auto at = [&](const std::vector<double>& all) {
            return [&all, head](std::int64_t j) { return all.data() + j * 20 + head / 3 * 10; };
          };
          const auto exact = attend(queries.data() + row * stride + head * 10, 10, 0.7, first,
                                    query, at(keys[s]), at(values[s]), 10);
          for (std::int64_t d = 0; d < 10; ++d) {
            ASSERT_NEAR(out.row(row)[head * 10 + d], exact[static_cast<std::size_t>(d)], 3e-6)
                << "window " << window << " sequence " << s << " row " << i;
          }
        }
      }
    }
  }
}

// bf16 operands that are exact, so that only the rounding of the softmax weights shows.
TEST(Attention, PackedCachesInBf16) {
  // The last three: several blocks of rows over several pages, and steps across the end of one.
  const std::vector<Feed> feeds{{0, 1},    {0, 150},   {63, 2},  {64, 1},
                                {131, 70}, {250, 290}, {511, 1}, {512, 1}};
  for (const std::int64_t window : {0, 1, 40, 64, 200, 300}) {
    for (const std::int64_t dim : {10, 19}) {
      const AttentionShape shape{
          .heads = 6, .kv_heads = 2, .head_dim = dim, .window = window, .scale = 0.4};
      const std::int64_t width = 2 * dim;
      std::mt19937 random(static_cast<unsigned>(window + dim));
      const auto draw = [&](std::int64_t count) {
        auto values = random_floats(static_cast<std::size_t>(count), random, -2.0f, 2.0f);
        for (float& value : values) value = round_to_bf16(value);
        return values;
      };
      const auto halves = [](const std::vector<float>& values) {
        std::vector<std::uint16_t> bits(values.size());
        convert_to_bf16(values.data(), bits.data(), std::ssize(values));
        return bits;
      };
      FakeModel model;
      std::vector<std::unique_ptr<SequenceState>> sequences;
      std::vector<SequenceInput> inputs;
      std::vector<std::vector<std::int32_t>> ids;
      std::vector<std::vector<double>> keys, values;
      ids.reserve(feeds.size());
      for (const Feed& feed : feeds) {
        const std::int64_t total = feed.before + feed.rows;
        const auto key = draw(total * width), value = draw(total * width);
        const auto key_bits = halves(key), value_bits = halves(value);
        auto cache = std::make_unique<PackedKvCache>(2, dim, dim);
        const auto write = [&](std::int64_t first, std::int64_t last) {
          cache->extend(last - first);
          for (std::int64_t p = first; p < last; ++p) {
            cache->write(p, key_bits.data() + p * width, value_bits.data() + p * width);
          }
        };
        write(0, feed.before);
        if (window > 0) cache->forget_before(std::max<std::int64_t>(0, feed.before - window + 1));
        write(feed.before, total);
        std::vector<std::unique_ptr<LayerState>> layers;
        layers.push_back(std::move(cache));
        sequences.push_back(std::make_unique<SequenceState>(&model, std::move(layers)));
        sequences.back()->advance(feed.before);
        ids.emplace_back(static_cast<std::size_t>(feed.rows), 0);
        inputs.push_back({sequences.back().get(), ids.back(), 0});
        keys.push_back(widened(key));
        values.push_back(widened(value));
      }
      const Batch batch(model, inputs);
      Compute compute;
      compute.executor = make_executor(3);
      const std::int64_t stride = 6 * dim + 7;
      const auto queries = draw(batch.rows() * stride);
      Attention attention(shape, true);
      Matrix out;
      attention(compute, batch, 0, queries.data(), nullptr, stride, out);
      expect_gates(attention, compute, batch, queries, stride, out);
      for (std::size_t s = 0; s < feeds.size(); ++s) {
        for (std::int64_t i = 0; i < feeds[s].rows; ++i) {
          const std::int64_t row = batch.entries()[s].first_row + i;
          const std::int64_t query = feeds[s].before + i;
          const std::int64_t first =
              window == 0 ? 0 : std::max<std::int64_t>(0, query - window + 1);
          for (std::int64_t head = 0; head < 6; ++head) {
            const auto at = [&](const std::vector<double>& all) {
              return [&all, head, dim, width](std::int64_t j) {
                return all.data() + j * width + head / 3 * dim;
              };
            };
            const auto attended = [&](const std::vector<double>& of) {
              return attend(queries.data() + row * stride + head * dim, dim,
                            static_cast<double>(0.4f), first, query, at(keys[s]), at(of), dim);
            };
            const auto exact = attended(values[s]);
            auto sizes = values[s];
            for (double& value : sizes) value = std::abs(value);
            const auto magnitude = attended(sizes);
            for (std::int64_t d = 0; d < dim; ++d) {
              const auto slot = static_cast<std::size_t>(d);
              ASSERT_NEAR(out.row(row)[head * dim + d], exact[slot],
                          (0x1p-8 + 2e-6) * magnitude[slot])
                  << "window " << window << " sequence " << s << " row " << i;
            }
          }
        }
      }
    }
  }
}

TEST(LatentAttention, BothFormsAreTheDefinition) {
  const LatentShape shape{.heads = 11, .latent = 9, .nope = 5, .pe = 3, .value = 7};
  const std::int64_t width = shape.width();
  std::mt19937 random(3);
  const auto kv_b = random_floats(11 * 12 * 9, random);
  const std::vector<Feed> feeds{{0, 90}, {130, 1}, {60, 9}};
  FakeModel model;
  std::vector<std::unique_ptr<SequenceState>> sequences;
  std::vector<SequenceInput> inputs;
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<std::vector<float>> cached;
  ids.reserve(feeds.size());
  for (const Feed& feed : feeds) {
    const std::int64_t total = feed.before + feed.rows;
    cached.push_back(random_floats(static_cast<std::size_t>(total * width), random, -2.0f, 2.0f));
    auto cache = std::make_unique<LatentCache>(width);
    cache->extend(total);
    for (std::int64_t p = 0; p < total; ++p) {
      std::copy_n(cached.back().data() + p * width, width, cache->row(p));
    }
    std::vector<std::unique_ptr<LayerState>> layers;
    layers.push_back(std::move(cache));
    sequences.push_back(std::make_unique<SequenceState>(&model, std::move(layers)));
    sequences.back()->advance(feed.before);
    ids.emplace_back(static_cast<std::size_t>(feed.rows), 0);
    inputs.push_back({sequences.back().get(), ids.back(), 0});
  }
  const Batch batch(model, inputs);
  Compute compute;
  compute.executor = make_executor(2);
  Matrix queries;
  queries.resize(batch.rows(), 11 * 8);
  const auto drawn = random_floats(static_cast<std::size_t>(batch.rows() * 88), random);
  std::copy(drawn.begin(), drawn.end(), queries.data());
  LatentAttention attention(shape, kv_b);
  for (const LatentForm form : {LatentForm::expanded, LatentForm::absorbed, LatentForm::cheaper}) {
    Matrix out;
    attention(compute, batch, 0, queries, form, out);
    for (std::size_t s = 0; s < feeds.size(); ++s) {
      for (std::int64_t head = 0; head < 11; ++head) {
        std::vector<double> keys, values;  // expanded, [positions, 8] and [positions, 7]
        for (std::int64_t p = 0; p < feeds[s].before + feeds[s].rows; ++p) {
          const float* latent = cached[s].data() + p * width;
          for (std::int64_t i = 0; i < 12; ++i) {
            double sum = 0.0;
            for (std::int64_t d = 0; d < 9; ++d) {
              sum += double{kv_b[static_cast<std::size_t>((head * 12 + i) * 9 + d)]} * latent[d];
            }
            (i < 5 ? keys : values).push_back(sum);
          }
          for (std::int64_t i = 0; i < 3; ++i) keys.push_back(latent[9 + i]);
        }
        for (std::int64_t i = 0; i < feeds[s].rows; ++i) {
          const std::int64_t row = batch.entries()[s].first_row + i;
          const auto exact = attend(
              queries.row(row) + head * 8, 8, 1.0 / std::sqrt(8.0), 0, feeds[s].before + i,
              [&](std::int64_t j) { return keys.data() + j * 8; },
              [&](std::int64_t j) { return values.data() + j * 7; }, 7);
          for (std::int64_t d = 0; d < 7; ++d) {
            ASSERT_NEAR(out.row(row)[head * 7 + d], exact[static_cast<std::size_t>(d)], 1e-5)
                << "form " << static_cast<int>(form) << " sequence " << s << " row " << i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice
