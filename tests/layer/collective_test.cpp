// Several ranks in one process: partial outputs add up to the whole layer, exactly once each.
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <functional>
#include <sluice/error.hpp>
#include <thread>

#include "backends/fake_device.hpp"
#include "layer/small_layer.hpp"

namespace sluice {
namespace {

using test::SmallLayer;
using test::Tokens;

// Ranks are threads of this process.
class Meeting {
 public:
  explicit Meeting(int size)
      : size_(size), barrier_(size), values_(static_cast<std::size_t>(size)) {}

  void sum(int rank, std::span<float> values) {
    values_[static_cast<std::size_t>(rank)] = values;
    barrier_.arrive_and_wait();
    std::vector<float> total(values.begin(), values.end());
    std::fill(total.begin(), total.end(), 0.0f);
    for (const auto& part : values_) {
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += part[i];
    }
    barrier_.arrive_and_wait();
    std::copy(total.begin(), total.end(), values.begin());
    barrier_.arrive_and_wait();
  }
  int size() const { return size_; }

 private:
  const int size_;
  std::barrier<> barrier_;
  std::vector<std::span<float>> values_;
};

class ThreadRank final : public Collective {
 public:
  ThreadRank(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return meeting_.size(); }
  void sum(std::span<float> values) override { meeting_.sum(rank_, values); }

 private:
  Meeting& meeting_;
  int rank_;
};

void on_ranks(int size, const std::function<void(int, std::shared_ptr<Collective>)>& action) {
  Meeting meeting(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] { action(rank, std::make_shared<ThreadRank>(meeting, rank)); });
  }
  for (std::thread& thread : threads) thread.join();
}

LayerOptions reference(std::shared_ptr<Collective> collective = nullptr) {
  LayerOptions options;
  options.backend = "reference";
  options.load.executor = make_executor(1);
  options.collective = std::move(collective);
  return options;
}

struct Shard {
  LayerSpec layer;                    // offset and count, or a map
  std::vector<std::int64_t> experts;  // that it holds, in local order
};

Shard slice(std::int64_t offset, std::int64_t count) {
  Shard shard;
  shard.layer.local_expert_offset = offset;
  shard.layer.num_local_experts = count;
  for (std::int64_t i = 0; i < count; ++i) shard.experts.push_back(offset + i);
  return shard;
}

Shard mapped(std::vector<std::int32_t> map, std::vector<std::int64_t> experts) {
  Shard shard;
  shard.layer.expert_map = std::move(map);
  shard.experts = std::move(experts);
  return shard;
}

MoeSpec with_shard(MoeSpec spec, const Shard& shard) {
  spec.layer.local_expert_offset = shard.layer.local_expert_offset;
  spec.layer.num_local_experts = shard.layer.num_local_experts;
  spec.layer.expert_map = shard.layer.expert_map;
  return spec;
}

class Shards : public ::testing::TestWithParam<std::vector<Shard>> {};

TEST_P(Shards, AddUpToTheWholeOnEveryRank) {
  const SmallLayer small;
  for (DType dtype : {DType::f32, DType::bf16}) {
    SmallLayer typed = small;
    typed.spec.layer.output_dtype = dtype == DType::f32 ? OutputDType::f32 : OutputDType::bf16;
    Tokens whole(9, dtype);
    MoeLayer(typed.spec, typed.weights(), reference()).forward(whole.from_logits(), whole.views());
    on_ranks(static_cast<int>(GetParam().size()), [&](int rank, auto collective) {
      const Shard& shard = GetParam()[static_cast<std::size_t>(rank)];
      MoeLayer layer(with_shard(typed.spec, shard), typed.weights(shard.experts),
                     reference(collective));
      Tokens part(9, dtype);
      layer.forward(part.from_logits(), part.views());
      EXPECT_EQ(part.output, whole.output) << "rank " << rank << " " << to_string(dtype);
      EXPECT_EQ(part.ids, whole.ids);
    });
  }
}

std::string split_name(const ::testing::TestParamInfo<std::vector<Shard>>& info) {
  constexpr const char* kNames[] = {"halves", "uneven_and_unordered", "one_without_experts",
                                    "maps"};
  return kNames[info.index];
}

INSTANTIATE_TEST_SUITE_P(
    Splits, Shards,
    ::testing::Values(std::vector<Shard>{slice(0, 3), slice(3, 3)},
                      std::vector<Shard>{slice(4, 2), slice(0, 1), slice(1, 3)},
                      std::vector<Shard>{slice(0, 6), slice(6, 0)},
                      std::vector<Shard>{mapped({-1, 1, -1, 0, -1, -1}, {3, 1}),
                                         mapped({2, -1, 0, -1, 3, 1}, {2, 5, 0, 4})}),
    split_name);

TEST(Collective, TensorSlicesOfExpertShardsAddUpToo) {
  const SmallLayer small;
  Tokens whole(7);
  MoeLayer(small.spec, small.weights(), reference()).forward(whole.from_logits(), whole.views());
  on_ranks(4, [&](int rank, auto collective) {
    const Shard shard = rank < 2 ? slice(0, 2) : slice(2, 4);
    const SmallLayer sliced = small.slice(rank % 2, 2);
    MoeLayer layer(with_shard(sliced.spec, shard), sliced.weights(shard.experts),
                   reference(collective));
    Tokens part(7);
    layer.forward(part.from_logits(), part.views());
    EXPECT_EQ(part.output, whole.output) << rank;
  });
}

// Backends on devices: host tensors are staged on each rank, in pieces that differ between ranks,
// and the sums are the host's. Tensors on the device are refused.
TEST(Collective, RanksOnDevicesAddUpToo) {
  const SmallLayer small;
  const test::FakeBackend fake;
  Tokens whole(7);
  MoeLayer(small.spec, small.weights(), reference()).forward(whole.from_logits(), whole.views());
  on_ranks(2, [&](int rank, auto collective) {
    const Shard shard = rank == 0 ? slice(0, 2) : slice(2, 4);
    LayerOptions options = reference(collective);
    options.instance = &fake;
    const MoeSpec spec = with_shard(small.spec, shard);
    const MoeWeights weights = small.weights(shard.experts);
    const std::size_t one = fake.load(spec, weights, options.load)->workspace_bytes(1);
    options.workspace_limit = one + (rank == 0 ? 64 : 0);  // two tokens at a time, or one
    MoeLayer layer(spec, weights, options);
    Tokens part(7);
    layer.forward(part.from_logits(), part.views());
    EXPECT_EQ(part.output, whole.output) << rank;
    ForwardInput there = part.from_logits();
    ForwardOutput output = part.views();
    for (TensorView* view : {&there.hidden_states, &there.router_logits}) {
      view->device = test::kFakeDevice;
    }
    for (MutableTensorView* view : {&output.output, &output.topk_ids, &output.topk_weights}) {
      view->device = test::kFakeDevice;
    }
    try {
      layer.forward(there, output);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("sums over 2 ranks"), std::string::npos);
    }
  });
}

TEST(Collective, RanksMustSliceAlike) {
  const SmallLayer small;
  on_ranks(2, [&](int rank, auto collective) {
    const SmallLayer sliced = rank == 0 ? small : small.slice(1, 2);
    try {
      MoeLayer(sliced.spec, sliced.weights(), reference(collective));
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("tp_size is 1 on rank 0 and 2 on rank 1"),
                std::string::npos)
          << error.what();
    }
  });
}

// Their sums would not even be of the same length.
TEST(Collective, RanksMustHaveLayersOfOneSize) {
  const auto message = [](const std::function<void(MoeSpec&)>& change) {
    std::vector<std::string> messages(2);
    on_ranks(2, [&](int rank, auto collective) {
      const SmallLayer small;
      const Shard shard = rank == 0 ? slice(0, 3) : slice(3, 2);
      MoeSpec spec = with_shard(small.spec, shard);
      if (rank == 1) change(spec);
      try {
        MoeLayer(spec, small.weights(shard.experts), reference(collective));
      } catch (const Error& error) {
        messages[static_cast<std::size_t>(rank)] = error.what();
      }
    });
    EXPECT_EQ(messages[0], messages[1]);
    return messages[0];
  };
  EXPECT_EQ(message([](MoeSpec& spec) { spec.router.num_experts = 5; }),
            "router.num_experts is 6 on rank 0 and 5 on rank 1; it must be the same");
  EXPECT_EQ(message([](MoeSpec& spec) { spec.experts.hidden_size = 16; }),
            "experts.hidden_size is 8 on rank 0 and 16 on rank 1; it must be the same");
}

TEST(Collective, RanksAboveTheFirstNeedNoSharedTensors) {
  const SmallLayer small;
  Tokens whole(4);
  MoeLayer(small.spec, small.weights(), reference()).forward(whole.from_logits(), whole.views());
  on_ranks(2, [&](int rank, auto collective) {
    const Shard shard = slice(rank * 3, 3);
    MoeWeights weights = small.weights(shard.experts);
    if (rank > 0) weights.shared_gate_up_proj = weights.shared_down_proj = {};
    MoeLayer layer(with_shard(small.spec, shard), weights, reference(collective));
    Tokens part(4);
    layer.forward(part.from_logits(), part.views());
    EXPECT_EQ(part.output, whole.output);
  });
}

TEST(Collective, SharedExpertsOnALaterRankAreNotLost) {
  const SmallLayer small;
  Tokens whole(4);
  MoeLayer(small.spec, small.weights(), reference()).forward(whole.from_logits(), whole.views());
  on_ranks(3, [&](int rank, auto collective) {
    const Shard shard = slice(rank * 2, 2);
    MoeSpec spec = with_shard(small.spec, shard);
    MoeWeights weights = small.weights(shard.experts);
    if (rank == 0) {
      spec.layer.num_shared_experts = spec.layer.shared_intermediate_size = 0;
      weights.shared_gate_up_proj = weights.shared_down_proj = {};
    }
    MoeLayer layer(spec, weights, reference(collective));
    Tokens part(4);
    layer.forward(part.from_logits(), part.views());
    EXPECT_EQ(part.output, whole.output) << rank;
  });
}

std::string error_on_ranks(const std::vector<Shard>& shards) {
  const SmallLayer small;
  std::vector<std::string> messages(shards.size());
  on_ranks(static_cast<int>(shards.size()), [&](int rank, auto collective) {
    const Shard& shard = shards[static_cast<std::size_t>(rank)];
    try {
      MoeLayer(with_shard(small.spec, shard), small.weights(shard.experts), reference(collective));
    } catch (const Error& error) {
      messages[static_cast<std::size_t>(rank)] = error.what();
    }
  });
  for (const std::string& message : messages) EXPECT_EQ(message, messages[0]);
  return messages[0];
}

TEST(Collective, RefusesExpertsComputedTwiceOrNever) {
  EXPECT_NE(
      error_on_ranks({slice(0, 4), slice(3, 3)}).find("expert 3 (slice 0 of 1) is computed by 2"),
      std::string::npos);
  EXPECT_NE(
      error_on_ranks({slice(0, 2), slice(3, 3)}).find("expert 2 (slice 0 of 1) is computed by 0"),
      std::string::npos);
}

class Misplaced final : public Collective {
 public:
  Misplaced(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void sum(std::span<float>) override { ADD_FAILURE() << "summed"; }

 private:
  int rank_;
  int size_;
};

TEST(Collective, ARankOutsideOfItsGroupIsRefused) {
  const SmallLayer layer;
  for (const auto& [rank, size] : {std::pair{5, 2}, {-1, 2}, {2, 2}, {1, 1}, {0, 0}, {0, -3}}) {
    LayerOptions options;
    options.collective = std::make_shared<Misplaced>(rank, size);
    try {
      const MoeLayer made(layer.spec, layer.weights(), options);
      ADD_FAILURE() << "accepted rank " << rank << " of " << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      const std::string part = "rank " + std::to_string(rank) + " of " + std::to_string(size);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

TEST(Collective, OneRankSumsNothing) {
  const auto self = make_self_collective();
  std::vector<float> values{1.5f, -2.0f};
  self->sum(values);
  EXPECT_EQ(values, (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(self->rank(), 0);
  EXPECT_EQ(self->size(), 1);
}

}  // namespace
}  // namespace sluice
