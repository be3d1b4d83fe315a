// Winograd's F(4x4, 3x3) (Lavin, Gray, arXiv 1509.09308): 16 pixels of a 3x3 convolution from 36 products instead of 144.
//
//     Y = A^T [ sum over inputs (G w G^T) * (B^T x B) ] A        x: 6x6 input pixels, Y: 4x4 outputs
//
// The points are 0, 1, -1, 2, -2 and infinity, with the rows of B^T divided by 4 (the first, second, third, sixth) or
// by 2 with the filter's rows to match, so that B^T x stays small: each of its rows adds up to 3 or less in magnitude.
// Values up to kInputLimit therefore never leave int16. They are scaled to that before the first half (B^T x), and where
// it has made them larger, once more before the second.
#pragma once

#include "isa.hpp"
#include "points.hpp"

namespace rfdn {
namespace {

// Six input values to six frequencies.
template <class I>
inline __attribute__((always_inline)) void transform_in(const typename I::Int* x, typename I::Int* out) {
  const auto d42 = I::subtract(x[4], x[2]), d31 = I::subtract(x[3], x[1]), h42 = I::half(d42);
  out[0] = I::add(I::subtract(x[0], x[2]), I::quarter(d42));
  out[1] = I::subtract(I::add(x[1], x[2]), I::quarter(I::add(x[3], x[4])));
  out[2] = I::add(I::subtract(x[1], x[2]), I::quarter(I::subtract(x[4], x[3])));
  out[3] = I::add(d31, h42);
  out[4] = I::subtract(h42, d31);
  out[5] = I::subtract(I::quarter(I::subtract(x[5], x[3])), d31);
}

// Six sums of products to four outputs.
template <class I>
inline __attribute__((always_inline)) void transform_out(const typename I::Float* m, typename I::Float* y) {
  const auto sum = I::add(m[1], m[2]), difference = I::subtract(m[1], m[2]);
  const auto sum2 = I::add(m[3], m[4]), difference2 = I::subtract(m[3], m[4]);
  y[0] = I::multiply_add(sum2, I::set(kDoublePoint), I::add(m[0], sum));
  y[1] = I::multiply_add(difference2, I::set(2 * kDoublePoint), difference);
  y[2] = I::multiply_add(sum2, I::set(4 * kDoublePoint), sum);
  y[3] = I::multiply_add(difference2, I::set(8 * kDoublePoint), I::multiply_add(m[5], I::set(kInfinity), difference));
}

}  // namespace
}  // namespace rfdn
