// wgmma: 64 rows of weights x N tokens x 16 columns, bf16 from shared memory, fp32 in registers.
//
// Thread t of the warpgroup holds rows 16 (t / 32) + t % 32 / 4 (+ 8) and tokens 8 j + t % 4 * 2 (+
// 1) of the product: sums[4 j + 0, 1] for the first row, sums[4 j + 2, 3] for the one 8 below.
#pragma once

#include <cstdint>

namespace sluice::cuda {

// A matrix in shared memory as layout.hpp draws it: groups of 8 rows, 1024 bytes apart, 128-byte
// swizzle. 16 columns further is 32 bytes further.
__device__ inline std::uint64_t matrix_descriptor(std::uint32_t shared_address) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kGroupStride = std::uint64_t{1024 >> 4} << 32;
  constexpr std::uint64_t kUnused = std::uint64_t{1} << 16;  // leading offset: one block is a row
  return kSwizzle128 | kGroupStride | kUnused | ((shared_address & 0x3ffffu) >> 4);
}

// Orders earlier accesses to the sums before the products that follow.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending committed groups are unfinished.
template <int kPending>
__device__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#define SLUICE_SUMS_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SLUICE_SUMS_8(i) SLUICE_SUMS_4(i), SLUICE_SUMS_4(i + 4)
#define SLUICE_SUMS_16(i) SLUICE_SUMS_8(i), SLUICE_SUMS_8(i + 8)
#define SLUICE_SUMS_32(i) SLUICE_SUMS_16(i), SLUICE_SUMS_16(i + 16)

// sums += a b^T
#define SLUICE_WGMMA(tokens, registers, a_operand, b_operand, ...)                           \
  __device__ inline void wgmma(float(&sums)[tokens / 2], std::uint64_t a, std::uint64_t b) { \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #tokens "k16.f32.bf16.bf16 {" registers \
                 "}, " a_operand ", " b_operand ", 1, 1, 1, 0, 0;"                           \
                 : __VA_ARGS__                                                               \
                 : "l"(a), "l"(b));                                                          \
  }

// clang-format off
SLUICE_WGMMA(8, "%0,%1,%2,%3",
             "%4", "%5", SLUICE_SUMS_4(0))
SLUICE_WGMMA(16, "%0,%1,%2,%3,%4,%5,%6,%7",
             "%8", "%9", SLUICE_SUMS_8(0))
SLUICE_WGMMA(32, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15",
             "%16", "%17", SLUICE_SUMS_16(0))
SLUICE_WGMMA(48, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23",
             "%24", "%25", SLUICE_SUMS_16(0), SLUICE_SUMS_8(16))
SLUICE_WGMMA(64, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31",
             "%32", "%33", SLUICE_SUMS_32(0))
SLUICE_WGMMA(96, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47",
             "%48", "%49", SLUICE_SUMS_32(0), SLUICE_SUMS_16(32))
SLUICE_WGMMA(128, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63",
             "%64", "%65", SLUICE_SUMS_32(0), SLUICE_SUMS_32(32))
SLUICE_WGMMA(160, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
             "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79",
             "%80", "%81", SLUICE_SUMS_32(0), SLUICE_SUMS_32(32), SLUICE_SUMS_16(64))
SLUICE_WGMMA(192, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
             "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
             "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95",
             "%96", "%97", SLUICE_SUMS_32(0), SLUICE_SUMS_32(32), SLUICE_SUMS_32(64))
SLUICE_WGMMA(224, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
             "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
             "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
             "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111",
             "%112", "%113", SLUICE_SUMS_32(0), SLUICE_SUMS_32(32), SLUICE_SUMS_32(64), SLUICE_SUMS_16(96))
SLUICE_WGMMA(256, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
             "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
             "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
             "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
             "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127",
             "%128", "%129", SLUICE_SUMS_32(0), SLUICE_SUMS_32(32), SLUICE_SUMS_32(64), SLUICE_SUMS_32(96))
// clang-format on

#undef SLUICE_WGMMA
#undef SLUICE_SUMS_4
#undef SLUICE_SUMS_8
#undef SLUICE_SUMS_16
#undef SLUICE_SUMS_32

}  // namespace sluice::cuda
