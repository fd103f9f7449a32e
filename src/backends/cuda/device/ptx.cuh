// Instructions that C++ has no words for, one each.
#pragma once

#include <cstdint>

namespace sluice::cuda {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- Barriers in shared memory ---------------------------------------------------------------

using Barrier = std::uint64_t;

__device__ inline void barrier_init(Barrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(arrivals)
               : "memory");
}

// Makes initialised barriers visible to the copy engine.
__device__ inline void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void barrier_arrive(Barrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier))
               : "memory");
}

// Arrives, and keeps the phase open until so many bytes were copied.
__device__ inline void barrier_arrive_expecting(Barrier& barrier, std::uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
      "r"(bytes)
      : "memory");
}

__device__ inline void barrier_wait(Barrier& barrier, std::uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}\n" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

// ---- Copies ----------------------------------------------------------------------------------

// `bytes`, a multiple of 16, from global to shared memory; the barrier counts them.
__device__ inline void bulk_load(void* to, const void* from, std::uint32_t bytes,
                                 Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier))
      : "memory");
}

// The same with a hint for the second-level cache, one of those below.
__device__ inline void bulk_load(void* to, const void* from, std::uint32_t bytes, Barrier& barrier,
                                 std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier)), "l"(policy)
      : "memory");
}

// Brings `bytes`, a multiple of 16, into the second-level cache.
__device__ inline void bulk_prefetch(const void* from, std::uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// The same for one line of 128 bytes.
__device__ inline void prefetch_line(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from) : "memory");
}

__device__ inline std::uint64_t evict_first() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ inline std::uint64_t evict_normal() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ inline std::uint64_t evict_last() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ inline void store(float2* to, float2 value, std::uint64_t policy) {
  asm volatile("st.global.L2::cache_hint.v2.f32 [%0], {%1, %2}, %3;" ::"l"(to), "f"(value.x),
               "f"(value.y), "l"(policy)
               : "memory");
}

__device__ inline void store(std::uint32_t* to, std::uint32_t value, std::uint64_t policy) {
  asm volatile("st.global.L2::cache_hint.b32 [%0], %1, %2;" ::"l"(to), "r"(value), "l"(policy)
               : "memory");
}

// ---- Shared memory, by address ---------------------------------------------------------------

// By predicate: the compiler would make branches of these.
__device__ inline void store_shared_if(bool wanted, std::uint32_t to, std::uint64_t value) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %0, 0;\n@p st.shared.b64 [%1], %2;\n}\n" ::"r"(
                   static_cast<int>(wanted)),
               "r"(to), "l"(value)
               : "memory");
}
__device__ inline void store_shared_if(bool wanted, std::uint32_t to, float value) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %0, 0;\n@p st.shared.f32 [%1], %2;\n}\n" ::"r"(
                   static_cast<int>(wanted)),
               "r"(to), "f"(value)
               : "memory");
}
__device__ inline ulonglong2 load_shared_pair(std::uint32_t from) {
  ulonglong2 values;
  asm volatile("ld.shared.v2.b64 {%0, %1}, [%2];" : "=l"(values.x), "=l"(values.y) : "r"(from));
  return values;
}

// `count` + (a > b), by the carry of a + ~b: no comparison whose answer waits for another.
__device__ inline int count_greater(int count, std::uint64_t a, std::uint64_t not_b) {
  asm("{\n.reg .b32 al, ah, bl, bh, low, high;\n"
      "mov.b64 {al, ah}, %1;\nmov.b64 {bl, bh}, %2;\n"
      "add.cc.u32 low, al, bl;\naddc.cc.u32 high, ah, bh;\naddc.u32 %0, %0, 0;\n}\n"
      : "+r"(count)
      : "l"(a), "l"(not_b));
  return count;
}

// Between ordinary accesses to memory and the copy engine's, whichever comes first.
__device__ inline void proxy_fence() { asm volatile("fence.proxy.async;" ::: "memory"); }

__device__ inline int load_acquire(const std::int32_t* from) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ inline void add_release(std::int32_t* to, int value) {
  asm volatile("red.release.gpu.global.add.s32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

// ---- Threads ---------------------------------------------------------------------------------

// A barrier for `threads` of the block's threads; 0 is __syncthreads' own.
__device__ inline void named_barrier(int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

// Registers move between warpgroups: those that only copy give theirs to those that multiply.
template <int kRegisters>
__device__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// sums [16, 8] += a [16, 16] b [16, 8], by a warp: lane l has rows l / 4 (low) and l / 4 + 8 (high)
// of a and sums, and column l / 4 of b; 0 and 1 are the halves of the 16 columns of a.
__device__ inline void mma_bf16(float (&sums)[4], std::uint32_t low0, std::uint32_t high0,
                                std::uint32_t low1, std::uint32_t high1, std::uint32_t b0,
                                std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(low0), "r"(high0), "r"(low1), "r"(high1), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of 16-bit elements from shared memory: lanes 8 m … 8 m + 7 give the addresses
// of matrix m's rows, and lane l gets the pair l % 4 of row l / 4 of each.
__device__ inline void load_matrices(std::uint32_t (&to)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// Transposes an 8 x 8 matrix of 16-bit elements that a warp holds, two elements of a row per lane.
__device__ inline std::uint32_t transpose(std::uint32_t pair) {
  std::uint32_t turned;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(pair));
  return turned;
}

}  // namespace sluice::cuda
