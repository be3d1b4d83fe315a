// What works on planes of float32: the picture's way in, and the far branch of ESA, whose maps are small. Plain loops
// over neighbouring columns, which compilers turn into vectors.
#pragma once

#include "attention.hpp"

namespace rfdn {
namespace {

// A row of tiles of planes as a map; the last pair is half empty where their number is odd.
template <class I>
void load(const Planes& planes, int count, const Map& target, int tile_row) {
  for (int y = kTile * tile_row; y < lesser(kTile * tile_row + kTile, target.height); y++)
    for (int block = 0; block < target.blocks(); block++)
      for (int q = 0; q < kTile; q++)
        for (int k = 0; k < target.pairs; k++) {
          float lanes[2][I::kLanes] = {};  // in packed order
          for (int c = 2 * k; c < lesser(2 * k + 2, count); c++)
            for (int lane = 0; lane < I::kLanes; lane++) {
              const int x = kTile * (block * I::kLanes + I::kTileOf[lane]) + q;
              if (x < target.width) lanes[c % 2][lane] = planes.row(c, y)[x];
            }
          I::store(target.block(y, block) + q * target.phase_stride() + k * I::kLanes,
                   I::to_halves(I::load(lanes[0]), I::load(lanes[1])));
        }
}

// to[x] = sum of three neighbours' products, added to what is there.
RFDN_INLINE void add_three(float* __restrict to, const float* a, const float* b, const float* c, const float* weight,
                           int width) {
  const float w0 = weight[0], w1 = weight[1], w2 = weight[2];
  for (int x = 0; x < width; x++) to[x] += w0 * a[x] + w1 * b[x] + w2 * c[x];
}

template <class I>
void halve(const SmallConv& c, int row) {
  const int half = (c.source.width + 1) / 2;
  for (int o = 0; o < c.channels; o++) {
    float* to = c.target.row(o, row);
    for (int x = 0; x < c.target.width; x++) to[x] = c.bias[o];
    for (int i = 0; i < c.channels; i++)
      for (int k = 0; k < 3; k++) {
        const float *even = c.source.row(i, 2 * row + k), *odd = even + half;
        add_three(to, even, odd, even + 1, c.weight + ((o * c.channels + i) * 3 + k) * 3, c.target.width);
      }
  }
}

template <class I>
void pool(const SmallConv& c, int row) {
  for (int o = 0; o < c.channels; o++)
    for (int x = 0; x < c.target.width; x++) {
      float most = c.source.row(o, 3 * row)[3 * x];
      for (int i = 0; i < 7; i++) {
        const float* from = c.source.row(o, 3 * row + i) + 3 * x;
        for (int j = 0; j < 7; j++) most = from[j] > most ? from[j] : most;
      }
      c.target.row(o, row)[x] = most;
    }
}

template <class I>
void small_conv(const SmallConv& c, int row) {
  for (int o = 0; o < c.channels; o++) {
    float* to = c.target.row(o, row);
    for (int x = 0; x < c.target.width; x++) to[x] = c.bias[o];
    for (int i = 0; i < c.channels; i++)
      for (int k = 0; k < 3; k++) {
        const float* from = c.source.row(i, row + k - 1);
        add_three(to, from - 1, from, from + 1, c.weight + ((o * c.channels + i) * 3 + k) * 3, c.target.width);
      }
    if (c.relu)
      for (int x = 0; x < c.target.width; x++) to[x] = to[x] < 0 ? 0 : to[x];  // NaN stays
  }
}

template <class I>
void widen(const Planes& source, int planes, int row, int width, float* far) {
  const int tiles = (width + kTile - 1) / kTile, line = (tiles + I::kLanes - 1) / I::kLanes * I::kLanes;
  for (int q = 0; q < kTile; q++)
    for (int n = 0; n < line; n++) {
      const int x = kTile * (n / I::kLanes * I::kLanes + I::kTileOf[n % I::kLanes]) + q;
      const Between columns(lesser(x, width - 1), width, source.width);
      for (int plane = 0; plane < planes; plane++) {
        const float* from = source.row(plane, row);
        far[(static_cast<std::ptrdiff_t>(plane) * kTile + q) * line + n] =
            from[columns.first] * (1 - columns.share) + from[columns.second] * columns.share;
      }
    }
}

}  // namespace
}  // namespace rfdn
