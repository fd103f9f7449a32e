// What the CUDA backend says of itself, GPU or none.
#include "backends/cuda/cuda_backend.hpp"

#include <gtest/gtest.h>

#include <sluice/error.hpp>

namespace sluice {
namespace {

MoeSpec ordinary() {
  MoeSpec spec;
  spec.router.num_experts = 64;
  spec.router.top_k = 6;
  spec.experts.hidden_size = 2048;
  spec.experts.intermediate_size = 1408;
  return spec;
}

// The one field that `spec` is refused for, or "" if it is accepted.
std::string refused(const MoeSpec& spec) {
  const Support support = negotiate(cuda_backend(), spec);
  if (support.ok()) return "";
  return support.refusals.size() == 1 ? support.refusals[0].field : "several";
}

TEST(CudaBackend, AcceptsAndNamesItsKernel) {
  EXPECT_EQ(refused(ordinary()), "");
  EXPECT_EQ(negotiate(cuda_backend(), ordinary()).variant, "ffn_bf16_bf16_sm90");
}

TEST(CudaBackend, RefusesByName) {
  MoeSpec spec = ordinary();
  spec.experts.weight_format = WeightFormat::fp8_e4m3_block128;
  EXPECT_EQ(refused(spec), "experts.weight_format");
  spec = ordinary();
  spec.experts.activation_format = ActivationFormat::f32;
  EXPECT_EQ(refused(spec), "experts.activation_format");
  spec = ordinary();
  spec.router.num_experts = 1032;
  EXPECT_EQ(refused(spec), "router.num_experts");
  spec = ordinary();
  spec.router.top_k = 33;
  EXPECT_EQ(refused(spec), "router.top_k");
  spec = ordinary();
  spec.experts.hidden_size = 2052;
  EXPECT_EQ(refused(spec), "experts.hidden_size");
  spec = ordinary();
  spec.experts.intermediate_size = 1416;  // 708 on each of two ranks
  spec.layer.tp_size = 2;
  EXPECT_EQ(refused(spec), "experts.intermediate_size");
}

TEST(CudaBackend, StandsBeforeTheCpu) {
  ASSERT_FALSE(backends().empty());
  EXPECT_EQ(backends().front(), &cuda_backend());
  EXPECT_EQ(cuda_backend().device({}), (Device{DeviceKind::cuda, 0}));
  EXPECT_NE(cuda_backend().device_memory({}), nullptr);
}

TEST(CudaBackend, WithoutAGpuLoadingSaysWhy) {
  const auto reason = cuda_backend().unavailable();
  if (!reason) GTEST_SKIP() << "a GPU is here";
  EXPECT_FALSE(reason->empty());
  try {
    cuda_backend().load(ordinary(), {}, {});
    FAIL() << "load did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    EXPECT_NE(std::string(error.what()).find(*reason), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace sluice
