// Sums of products of int16 pairs: the inner loop of everything.
#pragma once

#include "isa.hpp"
#include "layout.hpp"

namespace rfdn {
namespace {

// sums[r][t] = sum over k of values[k][t] * weights[k][r], for R outputs and T vectors, all sums in registers.
//
// values: [pairs][T * lanes]; weights: [pairs][R]; sums: [R][T * lanes].
template <class I, int T, int R>
inline __attribute__((always_inline)) void multiply_group(int pairs, const std::int32_t* values,
                                                          const std::int32_t* weights, std::int32_t* sums) {
  typename I::Int sum[R][T];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) sum[r][t] = I::zero();
  }
  for (int k = 0; k < pairs; k++) {
    typename I::Int value[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) value[t] = I::load(values + (k * T + t) * I::kLanes);
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) {
      const auto weight = I::broadcast(weights[k * R + r]);
#pragma GCC unroll 4
      for (int t = 0; t < T; t++) sum[r][t] = I::multiply_add(sum[r][t], value[t], weight);
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) I::store(sums + (r * T + t) * I::kLanes, sum[r][t]);
  }
}

template <class I, int T, int R>
void multiply_groups(int groups, int pairs, const std::int32_t* values, const std::int32_t* weights,
                     std::int32_t* sums) {
  for (int g = 0; g < groups; g++)
    multiply_group<I, T, R>(pairs, values, weights + static_cast<std::ptrdiff_t>(g) * pairs * R,
                            sums + static_cast<std::ptrdiff_t>(g) * R * T * I::kLanes);
}

// All outputs of a convolution at one frequency. The sums are [output][T * lanes].
template <class I, int T, int Choice = 0>
inline void multiply(const Conv& conv, int frequency, const std::int32_t* values, std::int32_t* sums) {
  constexpr int kCount = sizeof(I::kGroups) / sizeof(int);
  if constexpr (Choice < kCount) {
    constexpr int R = I::kGroups[Choice];
    if (conv.group != R) return multiply<I, T, Choice + 1>(conv, frequency, values, sums);
    const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(conv.groups()) * conv.pairs * R;
    multiply_groups<I, T, R>(conv.groups(), conv.pairs, values, conv.weights + frequency * size, sums);
  }
}

}  // namespace
}  // namespace rfdn
