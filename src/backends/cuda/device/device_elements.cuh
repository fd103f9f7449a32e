// Single elements and chunks of eight of tensors whose dtype is known at run time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include <sluice/dtype.hpp>

namespace sluice::cuda {

__device__ inline float load_element(const void* base, DType dtype, std::int64_t index) {
  if (dtype == DType::f32) return static_cast<const float*>(base)[index];
  if (dtype == DType::bf16) {
    return __bfloat162float(static_cast<const __nv_bfloat16*>(base)[index]);
  }
  return __half2float(static_cast<const __half*>(base)[index]);
}

// Eight elements from a multiple of 8; `base` is aligned to 16 bytes.
__device__ inline void load_chunk(const void* base, DType dtype, std::int64_t index,
                                  float (&to)[8]) {
  if (dtype == DType::f32) {
    const auto* from = reinterpret_cast<const float4*>(static_cast<const float*>(base) + index);
    const float4 a = from[0];
    const float4 b = from[1];
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w;
    to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
    return;
  }
  const uint4 raw =
      *reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(base) + index);
  const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (dtype == DType::bf16) {
      to[2 * i] = __uint_as_float(words[i] << 16);
      to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    } else {
      to[2 * i] = __half2float(__ushort_as_half(words[i] & 0xffffu));
      to[2 * i + 1] = __half2float(__ushort_as_half(words[i] >> 16));
    }
  }
}

// Two floats as bf16 in one word, `low` in the low half; to nearest, ties to even.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

__device__ inline std::uint32_t pack_f16(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

__device__ inline uint4 pack_chunk(const float (&from)[8]) {
  return {pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]), pack_bf16(from[4], from[5]),
          pack_bf16(from[6], from[7])};
}

// Two or four elements at a multiple of their number; `base` is aligned to 16 bytes.
template <int kCount>
__device__ void store_elements(void* base, DType dtype, std::int64_t index,
                               const float (&v)[kCount]) {
  static_assert(kCount == 2 || kCount == 4);
  if (dtype == DType::f32) {
    float* to = static_cast<float*>(base) + index;
    if constexpr (kCount == 4) {
      *reinterpret_cast<float4*>(to) = {v[0], v[1], v[2], v[3]};
    } else {
      *reinterpret_cast<float2*>(to) = {v[0], v[1]};
    }
    return;
  }
  std::uint32_t words[kCount / 2];
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    words[i] =
        dtype == DType::bf16 ? pack_bf16(v[2 * i], v[2 * i + 1]) : pack_f16(v[2 * i], v[2 * i + 1]);
  }
  auto* to = reinterpret_cast<std::uint32_t*>(static_cast<std::uint16_t*>(base) + index);
  if constexpr (kCount == 4) {
    *reinterpret_cast<uint2*>(to) = {words[0], words[1]};
  } else {
    *to = words[0];
  }
}

__device__ inline void store_element(void* base, DType dtype, int index, float value) {
  if (dtype == DType::f32) {
    static_cast<float*>(base)[index] = value;
  } else if (dtype == DType::bf16) {
    static_cast<__nv_bfloat16*>(base)[index] = __float2bfloat16_rn(value);
  } else {
    static_cast<__half*>(base)[index] = __float2half_rn(value);
  }
}

}  // namespace sluice::cuda
