// A 1x1 convolution of one row of tiles in int16, with a scale for every pixel from its largest channel.
#pragma once

#include "gemm.hpp"
#include "kernels.hpp"
#include "transforms.hpp"

namespace rfdn {
namespace {

// T vectors of the same phase, from `block` on, as integers to pixels[pair][T * lanes]; returns the inverse scales.
template <class I, int T>
inline void integers_of_pixels(const Map& map, int y, int phase, int block, std::int32_t* pixels,
                               typename I::Float* inverse) {
  for (int t = 0; t < T; t++) {
    const std::int32_t* from = map.block(y, block + t) + phase * map.phase_stride();
    auto most = I::zero(), most_odd = I::zero();  // two chains: each step waits for the one before
    int k = 0;
    for (; k + 1 < map.pairs; k += 2) {
      most = I::larger(most, I::load(from + k * I::kLanes));
      most_odd = I::larger(most_odd, I::load(from + (k + 1) * I::kLanes));
    }
    if (k < map.pairs) most = I::larger(most, I::load(from + k * I::kLanes));
    Factors<typename I::Float> factors;
    inverse[t] = I::factors(I::larger_magnitude(most, most_odd), kInputLimit, factors);
    for (k = 0; k < map.pairs; k++)
      I::store(pixels + (k * T + t) * I::kLanes, I::to_integers(I::load(from + k * I::kLanes), factors));
  }
}

template <class I, int T>
inline void convolve_pixels(const Conv1x1& c, int y, int q, int block, const Scratch& scratch) {
  using Float = typename I::Float;
  Float inverse[T];
  integers_of_pixels<I, T>(c.source, y, q, block, scratch.pixels, inverse);
  multiply<I, T>(c.conv, 0, scratch.pixels, scratch.products);
  const int mapped = c.near_from ? c.near_from : c.conv.outputs;
  for (int t = 0; t < T; t++) {
    const auto output = [&](int channel) {
      const Float sum = I::to_float(I::load(scratch.products + (channel * T + t) * I::kLanes));
      return I::multiply_add(sum, I::multiply(inverse[t], I::set(c.conv.scale[channel])), I::set(c.conv.bias[channel]));
    };
    const auto inside = I::first((c.source.width - q + kTile - 1) / kTile - (block + t) * I::kLanes);
    std::int32_t* to = c.target.block(y, block + t) + q * c.target.phase_stride();
    for (int o = 0; o < mapped; o += 2) {
      Float v[2] = {output(o), o + 1 < mapped ? output(o + 1) : I::set(0)};
      if (c.added.data) {
        Float a, b;
        I::from_halves(I::load(c.added.block(y, block + t) + q * c.added.phase_stride() + o / 2 * I::kLanes), a, b);
        v[0] = I::add(v[0], a), v[1] = I::add(v[1], b);
      }
      for (auto& x : v) x = I::largest(I::multiply(x, I::set(c.slope)), x);
      I::store(to + o / 2 * I::kLanes, I::both(I::to_halves(v[0], v[1]), inside));
    }
    for (int o = mapped; o < c.conv.outputs; o++) {
      float lanes[I::kLanes];
      I::store(lanes, output(o));
      float* row = c.near.row(o - mapped, y) + (q % 2) * ((c.near.width + 1) / 2) + q / 2;
      for (int lane = 0; lane < I::kLanes; lane++) {
        const int tile = (block + t) * I::kLanes + I::kTileOf[lane];
        if (kTile * tile + q < c.near.width) row[2 * tile] = lanes[lane];
      }
    }
  }
}

template <class I>
void conv1x1(const Conv1x1& c, int tile_row, const Scratch& scratch) {
  const int blocks = c.source.blocks();
  for (int y = kTile * tile_row; y < lesser(kTile * tile_row + kTile, c.source.height); y++)
    for (int q = 0; q < kTile; q++) {
      int block = 0;
      for (; block + I::kWide <= blocks; block += I::kWide) convolve_pixels<I, I::kWide>(c, y, q, block, scratch);
      for (; block < blocks; block++) convolve_pixels<I, 1>(c, y, q, block, scratch);
    }
}

}  // namespace
}  // namespace rfdn
