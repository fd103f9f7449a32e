// A warm forward does not allocate. A program of its own, because it replaces operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "layer/small_layer.hpp"

namespace {

std::atomic<int> allocations{0};

}  // namespace

// Not inlined: the compiler would see free() of what it knows to come from new.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace sluice {
namespace {

TEST(ForwardMemory, AWarmForwardAllocatesNothingForAnyDtype) {
  const test::SmallLayer small;
  LayerOptions options;
  options.backend = "cpu";
  options.load.executor = make_executor(2);
  MoeLayer layer(small.spec, small.weights(), options);
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    test::Tokens tokens(4);  // zeros are zeros in every dtype, and halves need half the memory
    tokens.hidden.assign(tokens.hidden.size(), 0.0f);
    ForwardInput input = tokens.from_logits();
    input.hidden_states.dtype = dtype;
    ForwardOutput output = tokens.views();
    output.output.dtype = layer.output_dtype(dtype);
    layer.forward(input, output);
    const int before = allocations;
    layer.forward(input, output);
    EXPECT_EQ(allocations - before, 0) << to_string(dtype);
  }
}

}  // namespace
}  // namespace sluice
