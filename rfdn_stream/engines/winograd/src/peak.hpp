// What a processor reaches at best: sums of products on little memory, in the shape of the inner loop.
#pragma once

#include "gemm.hpp"

namespace rfdn {
namespace {

// As multiply_group, in float32.
template <class I, int T, int R>
inline __attribute__((always_inline)) void multiply_floats(int count, const float* values, const float* weights,
                                                           float* sums) {
  typename I::Float sum[R][T];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) sum[r][t] = I::set(0);
  }
  for (int k = 0; k < count; k++) {
    typename I::Float value[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) value[t] = I::load(values + (k * T + t) * I::kLanes);
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) {
      const auto weight = I::set(weights[k * R + r]);
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) sum[r][t] = I::multiply_add(value[t], weight, sum[r][t]);
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) I::store(sums + (r * T + t) * I::kLanes, sum[r][t]);
  }
}

// Multiplies and adds in int16 pairs, or in float32; returns how many operations that was, a multiplication being one.
template <class I>
double operations(bool integers, int rounds) {
  constexpr int T = I::kWide, R = I::kGroups[0], kCount = 256;
  alignas(64) static thread_local std::int32_t values[kCount * T * I::kLanes], weights[kCount * R];
  alignas(64) static thread_local std::int32_t sums[R * T * I::kLanes];
  for (int round = 0; round < rounds; round++) {
    weights[round % kCount] = (round & 1) << 30;  // no round is the one before; as a float, 0 or 2
    if (integers)
      multiply_group<I, T, R>(kCount, values, weights, sums);
    else
      multiply_floats<I, T, R>(kCount, reinterpret_cast<const float*>(values), reinterpret_cast<const float*>(weights),
                               reinterpret_cast<float*>(sums));
  }
  return (integers ? 4.0 : 2.0) * rounds * kCount * R * T * I::kLanes;
}

}  // namespace
}  // namespace rfdn
