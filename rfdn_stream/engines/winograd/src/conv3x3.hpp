// A 3x3 convolution of one row of tiles by Winograd's F(4x4, 3x3) in int16.
//
// Every tile gets a scale of its own, from the largest magnitude of the 6x6 pixels that it sees in all channels, so that
// nothing can overflow whatever the picture, and nothing has to be calibrated. kWide vectors of tiles go through at a
// time: transform, 36 matrix products, transform back.
#pragma once

#include "gemm.hpp"
#include "kernels.hpp"
#include "transforms.hpp"

namespace rfdn {
namespace {

// The six rows of a block of tiles, and the blocks beside it; zeros stand for what lies outside the picture.
struct Window {
  const std::int32_t *row[6], *left[6], *right[6];

  Window(const Map& map, int top, int block, const std::int32_t* zeros) {
    for (int i = 0; i < 6; i++) {
      const int y = top - 1 + i;
      const bool inside = y >= 0 && y < map.height && block < map.blocks();
      row[i] = inside ? map.block(y, block) : zeros;
      left[i] = inside && block > 0 ? row[i] - map.block_stride() : zeros;
      right[i] = inside && block + 1 < map.blocks() ? row[i] + map.block_stride() : zeros;
    }
  }
};

// The largest magnitudes in each column of a block's tiles, over six rows and all channels.
template <class I>
struct Columns {
  typename I::Int phase[kTile];

  Columns() {
    for (auto& p : phase) p = I::zero();
  }
  Columns(const Window& window, const Map& map) : Columns() {
    for (int i = 0; i < 6; i++)
      for (int q = 0; q < kTile; q++) {
        const std::int32_t* p = window.row[i] + q * map.phase_stride();
        for (int k = 0; k < map.pairs; k++) phase[q] = I::larger(phase[q], I::load(p + k * I::kLanes));
      }
  }
};

// What each tile of a block sees: its own columns, and one to either side.
template <class I>
inline typename I::Int seen(const Columns<I>& left, const Columns<I>& own, const Columns<I>& right) {
  auto most = I::larger_magnitude(I::from_left(left.phase[3], own.phase[3]), I::from_right(own.phase[0], right.phase[0]));
  for (int q = 0; q < kTile; q++) most = I::larger_magnitude(most, own.phase[q]);
  return most;
}

// The transformed inputs of vector `t` of T to values[frequency][pair][T * lanes], and the tiles' own pixels, before the
// transform, to pixels[4 * row + column][pair][T * lanes] where asked for. Returns what the transform was scaled by.
template <class I, int T, bool kPixels>
inline typename I::Float transform_block(const Window& window, const Map& map,
                                         const Factors<typename I::Float>& factors, int t, const Scratch& scratch) {
  using Int = typename I::Int;
  const std::ptrdiff_t phase = map.phase_stride();
  const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(map.pairs) * T * I::kLanes;
  Int most = I::zero();
  for (int k = 0; k < map.pairs; k++) {
    const std::ptrdiff_t to = (static_cast<std::ptrdiff_t>(k) * T + t) * I::kLanes;
    for (int i = 0; i < 6; i++) {
      const std::int32_t* p = window.row[i] + k * I::kLanes;
      const Int first = I::load(p), last = I::load(p + 3 * phase);
      Int x[6] = {I::from_left(I::load(window.left[i] + k * I::kLanes + 3 * phase), last), first, I::load(p + phase),
                  I::load(p + 2 * phase), last, I::from_right(first, I::load(window.right[i] + k * I::kLanes))};
      Int out[6];
#pragma GCC unroll 6
      for (int j = 0; j < 6; j++) x[j] = I::to_integers(x[j], factors);
      if (kPixels && i >= 1 && i <= kTile) {
#pragma GCC unroll 4
        for (int q = 0; q < kTile; q++) I::store(scratch.pixels + (kTile * (i - 1) + q) * step + to, x[q + 1]);
      }
      transform_in<I>(x, out);
#pragma GCC unroll 6
      for (int j = 0; j < 6; j++) {
        most = I::larger_integer(most, out[j]);
        I::store(scratch.values + (6 * i + j) * step + to, out[j]);
      }
    }
  }
  typename I::Float shrunk;
  const Int factor = I::shrink(most, kInputLimit, shrunk);
  most = I::zero();
  for (int k = 0; k < map.pairs; k++) {
    std::int32_t* values = scratch.values + (static_cast<std::ptrdiff_t>(k) * T + t) * I::kLanes;
    for (int j = 0; j < 6; j++) {
      Int x[6], out[6];
#pragma GCC unroll 6
      for (int i = 0; i < 6; i++) x[i] = I::scaled(I::load(values + (6 * i + j) * step), factor);
      transform_in<I>(x, out);
#pragma GCC unroll 6
      for (int i = 0; i < 6; i++) {
        most = I::larger_integer(most, out[i]);
        I::store(values + (6 * i + j) * step, out[i]);
      }
    }
  }
  if (!I::any_beyond(most, kValueLimit)) return shrunk;
  typename I::Float shrunk_again;
  const Int again = I::shrink(most, kValueLimit, shrunk_again);
  for (int f = 0; f < kFrequencies; f++)
    for (int k = 0; k < map.pairs; k++) {
      std::int32_t* value = scratch.values + f * step + (static_cast<std::ptrdiff_t>(k) * T + t) * I::kLanes;
      I::store(value, I::scaled(I::load(value), again));
    }
  return I::multiply(shrunk, shrunk_again);
}

// Output `channel` of vector `t`: y[4 * row + column], scaled, with bias and activation.
template <class I, int T>
inline void transform_back(const Conv& conv, int channel, int t, typename I::Float inverse, float slope,
                           const std::int32_t* products, typename I::Float* y) {
  using Float = typename I::Float;
  const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(conv.groups()) * conv.group * T * I::kLanes;
  const std::int32_t* sums = products + (static_cast<std::ptrdiff_t>(channel) * T + t) * I::kLanes;
  Float columns[kTile][6];
  for (int j = 0; j < 6; j++) {
    Float m[6], out[kTile];
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) m[i] = I::to_float(I::load(sums + (6 * i + j) * step));
    transform_out<I>(m, out);
#pragma GCC unroll 4
    for (int p = 0; p < kTile; p++) columns[p][j] = out[p];
  }
  const Float scale = I::multiply(inverse, I::set(conv.scale[channel])), bias = I::set(conv.bias[channel]);
  for (int p = 0; p < kTile; p++) {
    Float out[kTile];
    transform_out<I>(columns[p], out);
#pragma GCC unroll 4
    for (int q = 0; q < kTile; q++) {
      const Float v = I::multiply_add(out[q], scale, bias);
      y[kTile * p + q] = I::largest(I::multiply(v, I::set(slope)), v);
    }
  }
}

// The lanes of each column that lie inside the picture.
template <class I>
struct Inside {
  typename I::Int phase[kTile];
  Inside(int width, int block) {
    for (int q = 0; q < kTile; q++) phase[q] = I::first((width - q + kTile - 1) / kTile - block * I::kLanes);
  }
};

// Where the rows of a block of tiles lie in a map: those inside the picture.
struct Rows {
  std::int32_t* row[kTile];
  int count;

  Rows(const Map& map, int top, int block) : count(lesser(kTile, map.height - top)) {
    for (int p = 0; p < count; p++) row[p] = map.block(top + p, block);
  }
};

// Two channels of 16 pixels into a map, with `added` (the same place of another map) on top.
template <class I>
inline void store_tile(const Rows& to, std::ptrdiff_t phase, int pair, const Inside<I>& inside,
                       typename I::Float* even, typename I::Float* odd, const Rows* added,
                       std::ptrdiff_t added_phase) {
  for (int p = 0; p < to.count; p++)
    for (int q = 0; q < kTile; q++) {
      auto &a = even[kTile * p + q], &b = odd[kTile * p + q];
      if (added) {
        typename I::Float x, y;
        I::from_halves(I::load(added->row[p] + q * added_phase + pair * I::kLanes), x, y);
        a = I::add(a, x), b = I::add(b, y);
      }
      I::store(to.row[p] + q * phase + pair * I::kLanes, I::both(I::to_halves(a, b), inside.phase[q]));
    }
}

// A block's output into the target map.
template <class I, int T>
inline void finish_block(const Conv3x3& c, int top, int block, int t, typename I::Float inverse,
                         const Scratch& scratch) {
  const Inside<I> inside(c.source.width, block);
  const Rows to(c.target, top, block), added(c.added.data ? c.added : c.target, top, block);
  typename I::Float even[kTile * kTile], odd[kTile * kTile];
  for (int o = 0; o < c.conv.outputs; o += 2) {
    transform_back<I, T>(c.conv, o, t, inverse, c.slope, scratch.products, even);
    if (o + 1 < c.conv.outputs)
      transform_back<I, T>(c.conv, o + 1, t, inverse, c.slope, scratch.products, odd);
    else
      for (auto& y : odd) y = I::set(0);
    store_tile<I>(to, c.target.phase_stride(), o / 2, inside, even, odd, c.added.data ? &added : nullptr,
                  c.added.phase_stride());
  }
}

// A block of the last convolution's output: channel c * scale^2 + i * scale + j of pixel (y, x) is pixel
// (scale * y + i, scale * x + j) of plane c.
template <class I, int T>
inline void shuffle_block(const Conv3x3& c, int top, int block, int t, typename I::Float inverse,
                          const Scratch& scratch) {
  const int s = c.scale, left = block * I::kLanes * kTile;
  const int tiles = lesser(I::kLanes, c.source.tiles() - block * I::kLanes);
  for (int channel = 0; channel < c.conv.outputs; channel++) {
    typename I::Float y[kTile * kTile];
    transform_back<I, T>(c.conv, channel, t, inverse, c.slope, scratch.products, y);
    const int plane = channel / (s * s), i = channel / s % s, j = channel % s;
    for (int p = 0; p < kTile && top + p < c.source.height; p++) {
      float* row = c.picture.row(plane, s * (top + p) + i) + j;
      for (int q = 0; q < kTile; q++) {
        float lanes[I::kLanes];
        I::store(lanes, y[kTile * p + q]);
        for (int lane = 0; lane < I::kLanes; lane++) {
          const int x = left + kTile * I::kTileOf[lane] + q;
          if (I::kTileOf[lane] < tiles && x < c.source.width) row[static_cast<std::ptrdiff_t>(s) * x] = lanes[lane];
        }
      }
    }
  }
}

// The 1x1 convolution beside: from the pixels that the transform has turned into integers anyway.
template <class I, int T>
inline void beside_block(const Conv3x3& c, int top, int block, const typename I::Float* inverse,
                         const Scratch& scratch) {
  using Float = typename I::Float;
  const Conv& conv = c.beside;
  const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(conv.pairs) * T * I::kLanes;
  for (int p = 0; p < lesser(kTile, c.source.height - top); p++)
    for (int q = 0; q < kTile; q++) {
      multiply<I, T>(conv, 0, scratch.pixels + (kTile * p + q) * step, scratch.products);
      for (int t = 0; t < T; t++) {
        const auto inside = Inside<I>(c.source.width, block + t).phase[q];
        std::int32_t* to = c.beside_target.block(top + p, block + t) + q * c.beside_target.phase_stride();
        for (int o = 0; o < conv.outputs; o += 2) {
          Float y[2];
          for (int n = 0; n < 2; n++) {
            const int channel = lesser(o + n, conv.outputs - 1);
            const Float sum = I::to_float(I::load(scratch.products + (channel * T + t) * I::kLanes));
            const Float v = I::multiply_add(sum, I::multiply(inverse[t], I::set(conv.scale[channel])),
                                            I::set(conv.bias[channel]));
            y[n] = o + n < conv.outputs ? I::largest(I::multiply(v, I::set(c.slope)), v) : I::set(0);
          }
          I::store(to + o / 2 * I::kLanes, I::both(I::to_halves(y[0], y[1]), inside));
        }
      }
    }
}

// Asks for a 36th of what the next T blocks will read and these will write, into the second cache, while it multiplies.
template <int T>
inline void fetch_share(const Conv3x3& c, int top, int block, int share) {
  const auto fetch = [share](const Map& map, int y, int first) {
    if (y < 0 || y >= map.height || first + T > map.blocks()) return;
    const char* begin = reinterpret_cast<const char*>(map.block(y, first));
    const std::ptrdiff_t lines = T * map.block_stride() * static_cast<std::ptrdiff_t>(sizeof(std::int32_t)) / kLine;
    for (std::ptrdiff_t l = lines * share / kFrequencies; l < lines * (share + 1) / kFrequencies; l++)
      __builtin_prefetch(begin + l * kLine, 0, 2);
  };
  for (int i = 0; i < 6; i++) fetch(c.source, top - 1 + i, block + T + 1);
  if (!c.scale)
    for (int p = 0; p < kTile; p++) fetch(c.target, top + p, block);
}

// T blocks of tiles from `block` on.
template <class I, int T>
inline void convolve_blocks(const Conv3x3& c, int top, int block, Columns<I>& left, Columns<I>& own,
                            const Scratch& scratch) {
  using Float = typename I::Float;
  Float inverse[T], transformed[T];  // what integers stand for: of pixels, and of sums of products
  for (int t = 0; t < T; t++) {
    const Columns<I> right(Window(c.source, top, block + t + 1, scratch.zeros), c.source);
    Factors<Float> factors;
    inverse[t] = I::factors(seen(left, own, right), kInputLimit, factors);
    const Window window(c.source, top, block + t, scratch.zeros);
    const Float shrunk = c.beside.outputs ? transform_block<I, T, true>(window, c.source, factors, t, scratch)
                                          : transform_block<I, T, false>(window, c.source, factors, t, scratch);
    transformed[t] = I::divide(inverse[t], shrunk);
    left = own, own = right;
  }
  if (c.beside.outputs) beside_block<I, T>(c, top, block, inverse, scratch);
  const std::ptrdiff_t in = static_cast<std::ptrdiff_t>(c.conv.pairs) * T * I::kLanes;
  const std::ptrdiff_t out = static_cast<std::ptrdiff_t>(c.conv.groups()) * c.conv.group * T * I::kLanes;
  for (int f = 0; f < kFrequencies; f++) {
    fetch_share<T>(c, top, block, f);
    multiply<I, T>(c.conv, f, scratch.values + f * in, scratch.products + f * out);
  }
  for (int t = 0; t < T; t++)
    if (c.scale)
      shuffle_block<I, T>(c, top, block + t, t, transformed[t], scratch);
    else
      finish_block<I, T>(c, top, block + t, t, transformed[t], scratch);
}

template <class I>
void conv3x3(const Conv3x3& c, int tile_row, const Scratch& scratch) {
  const int top = kTile * tile_row, blocks = c.source.blocks();
  Columns<I> left, own(Window(c.source, top, 0, scratch.zeros), c.source);
  int block = 0;
  for (; block + I::kWide <= blocks; block += I::kWide) convolve_blocks<I, I::kWide>(c, top, block, left, own, scratch);
  for (; block < blocks; block++) convolve_blocks<I, 1>(c, top, block, left, own, scratch);
}

}  // namespace
}  // namespace rfdn
