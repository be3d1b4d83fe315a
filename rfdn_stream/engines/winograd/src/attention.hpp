// ESA and CCA: where a map is to be stronger. Everything here is float32: it is a few per cent of the work.
#pragma once

#include "isa.hpp"
#include "kernels.hpp"

namespace rfdn {
namespace {

// 1 / (1 + e^-x), to about 1e-5: 2^-(x log2 e) as 2^whole by its exponent times a polynomial for the rest.
template <class I>
inline typename I::Float sigmoid(typename I::Float x) {
  using Float = typename I::Float;
  // largest and smallest return the second operand where one is NaN, so that a NaN stays one.
  const Float bounded = I::largest(I::set(-80), I::smallest(I::set(80), I::multiply(x, I::set(-1.44269504f))));
  const Float whole = I::rounded(bounded), rest = I::subtract(bounded, whole);
  constexpr float kSeries[] = {0.0096181291f, 0.0555041087f, 0.2402265070f, 0.6931471806f, 1.f};  // ln(2)^n / n!
  Float power = I::set(0.0013333558f);
  for (const float c : kSeries) power = I::multiply_add(power, rest, I::set(c));
  return I::divide(I::set(1), I::multiply_add(power, I::power_of_two(whole), I::set(1)));
}

// Between which rows of a smaller map one of `size` lies, and how far from the first: align_corners = False.
struct Between {
  int first, second;
  float share;  // of the second
  RFDN_INLINE Between(int at, int size, int small) {
    const float scale = static_cast<float>(small) / static_cast<float>(size);
    const float exact = (static_cast<float>(at) + 0.5f) * scale - 0.5f;
    first = exact > 0 ? lesser(static_cast<int>(exact), small - 1) : 0;
    second = lesser(first + 1, small - 1);
    share = exact > 0 ? exact - static_cast<float>(first) : 0;
  }
};

// The mask and what was pooled from afar, summed: mixed[inner][lanes].
template <class I>
inline void mix(const Attend& a, const Between& rows, int y, int q, int block, float* mixed) {
  using Float = typename I::Float;
  const std::int32_t* mask = a.mask.block(y, block) + q * a.mask.phase_stride();
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(a.source.blocks()) * I::kLanes;
  const auto far = [&](int row, int channel) {
    return I::load(a.far + ((static_cast<std::ptrdiff_t>(row) * a.inner + channel) * kTile + q) * line +
                   block * I::kLanes);
  };
  const Float share = I::set(rows.share), other = I::set(1 - rows.share);
  for (int o = 0; o < a.inner; o += 2) {
    Float near[2];
    I::from_halves(I::load(mask + o / 2 * I::kLanes), near[0], near[1]);
    for (int n = 0; n < 2 && o + n < a.inner; n++) {
      const Float sum = I::multiply_add(far(rows.first, o + n), other, near[n]);
      I::store(mixed + (o + n) * I::kLanes, I::multiply_add(far(rows.second, o + n), share, sum));
    }
  }
}

// The weights of two neighbouring channels.
template <class I>
inline void weigh(const Attend& a, int channel, const float* mixed, typename I::Float* weight) {
  if (a.by_channel) {
    for (int n = 0; n < 2; n++) weight[n] = I::set(a.by_channel[channel + n]);
    return;
  }
  const float *w0 = a.weight + static_cast<std::ptrdiff_t>(channel) * a.inner, *w1 = w0 + a.inner;
  auto m0 = I::set(a.bias[channel]), m1 = I::set(a.bias[channel + 1]);
  for (int k = 0; k < a.inner; k++) {
    const auto z = I::load(mixed + k * I::kLanes);
    m0 = I::multiply_add(z, I::set(w0[k]), m0), m1 = I::multiply_add(z, I::set(w1[k]), m1);
  }
  weight[0] = sigmoid<I>(m0), weight[1] = sigmoid<I>(m1);
}

template <class I>
void attend(const Attend& a, int tile_row, const Scratch& scratch) {
  using Float = typename I::Float;
  float* mixed = reinterpret_cast<float*>(scratch.pixels);
  for (int y = kTile * tile_row; y < lesser(kTile * tile_row + kTile, a.source.height); y++) {
    const Between rows(y, a.source.height, a.by_channel ? 1 : a.far_height);
    for (int block = 0; block < a.source.blocks(); block++)
      for (int q = 0; q < kTile; q++) {
        if (!a.by_channel) mix<I>(a, rows, y, q, block, mixed);
        const auto inside = I::first((a.source.width - q + kTile - 1) / kTile - block * I::kLanes);
        const std::int32_t* from = a.source.block(y, block) + q * a.source.phase_stride();
        std::int32_t* to = a.target.block(y, block) + q * a.target.phase_stride();
        for (int k = 0; k < a.source.pairs; k++) {
          Float x[2], weight[2];
          I::from_halves(I::load(from + k * I::kLanes), x[0], x[1]);
          weigh<I>(a, 2 * k, mixed, weight);
          for (int n = 0; n < 2; n++) x[n] = I::multiply(x[n], weight[n]);
          if (a.added.data) {
            Float b[2];
            I::from_halves(I::load(a.added.block(y, block) + q * a.added.phase_stride() + k * I::kLanes), b[0], b[1]);
            for (int n = 0; n < 2; n++) x[n] = I::add(x[n], b[n]);
          }
          I::store(to + k * I::kLanes, I::both(I::to_halves(x[0], x[1]), inside));
        }
      }
  }
}

// Sums of each channel and of its squares over a row of tiles. Lanes outside the picture are zero and add nothing.
template <class I>
void sums(const Map& map, int tile_row, double* sums) {
  using Float = typename I::Float;
  for (int k = 0; k < map.pairs; k++) {
    double total[4] = {};
    for (int y = kTile * tile_row; y < lesser(kTile * tile_row + kTile, map.height); y++) {
      Float sum[4] = {I::set(0), I::set(0), I::set(0), I::set(0)};
      for (int block = 0; block < map.blocks(); block++)
        for (int q = 0; q < kTile; q++) {
          Float x, z;
          I::from_halves(I::load(map.block(y, block) + q * map.phase_stride() + k * I::kLanes), x, z);
          sum[0] = I::add(sum[0], x), sum[1] = I::multiply_add(x, x, sum[1]);
          sum[2] = I::add(sum[2], z), sum[3] = I::multiply_add(z, z, sum[3]);
        }
      for (int n = 0; n < 4; n++) {
        float lanes[I::kLanes];
        I::store(lanes, sum[n]);
        for (const float lane : lanes) total[n] += lane;
      }
    }
    for (int n = 0; n < 4; n++) sums[4 * k + n] = total[n];
  }
}

}  // namespace
}  // namespace rfdn
