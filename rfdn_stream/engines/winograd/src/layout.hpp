// How feature maps lie in memory, and what goes from the network to the kernels: plain structs, no instructions of any
// particular processor.
#pragma once

#include <cstddef>
#include <cstdint>

// Inlined in every object that uses it: a shared copy could be one with instructions that this processor lacks.
#define RFDN_INLINE inline __attribute__((always_inline))

namespace rfdn {

// A tile is 4x4 pixels, what one Winograd transform F(4x4, 3x3) puts out.
constexpr int kTile = 4;
constexpr int kLine = 64;  // bytes of a cache line

// A feature map of half floats, or a part of its channels.
//
// Two channels lie side by side in one dword (a "pair"), which is what the processors multiply at a time. Columns are
// split by x mod 4 (the "phase"), so that the same column of neighbouring tiles makes one vector, `lanes` dwords long:
//
//     [row][block of `lanes` tiles][phase 0..3][pair][lane]        pixel x = 4 * (lanes * block + lane) + phase
//
// A row is stored at y mod `stored`: maps that are read soon after they were written keep a few rows only. Lanes beyond
// the width are zero; rows outside the picture are not stored at all.
struct Map {
  std::int32_t* data = nullptr;
  int height = 0, width = 0;
  int stored = 0;       // rows in memory
  int lanes = 0;        // of the processor's vectors
  int pairs = 0;        // of this part
  int first_pair = 0;   // of the whole map, where this part begins
  int whole_pairs = 0;  // of the whole map

  RFDN_INLINE int tiles() const { return (width + kTile - 1) / kTile; }
  RFDN_INLINE int blocks() const { return (tiles() + lanes - 1) / lanes; }
  RFDN_INLINE std::ptrdiff_t phase_stride() const { return static_cast<std::ptrdiff_t>(whole_pairs) * lanes; }  // in dwords
  RFDN_INLINE std::ptrdiff_t block_stride() const { return kTile * phase_stride(); }
  RFDN_INLINE std::ptrdiff_t row_stride() const { return blocks() * block_stride(); }

  // Phase 0 of this part's first pair.
  RFDN_INLINE std::int32_t* block(int y, int block) const {
    return data + (y % stored) * row_stride() + block * block_stride() + static_cast<std::ptrdiff_t>(first_pair) * lanes;
  }

  // The `count` pairs from `first` on.
  RFDN_INLINE Map part(int first, int count) const {
    Map result = *this;
    result.first_pair += first;
    result.pairs = count;
    return result;
  }
};

// float32 planes, rows of neighbouring columns: a picture, or small maps.
struct Planes {
  float* data = nullptr;
  std::ptrdiff_t plane_stride = 0, row_stride = 0;  // in floats
  int height = 0, width = 0;

  RFDN_INLINE float* row(int plane, int y) const { return data + plane * plane_stride + y * row_stride; }
};

// The weights of a convolution as int16, two inputs side by side in a dword. `weights` is
// [frequency (3x3: 36, 1x1: 1)][group][input pair][output of the group].
struct Conv {
  const std::int32_t* weights;
  const float* scale;  // of each output: weight = integer * scale
  const float* bias;
  int pairs;    // of inputs
  int outputs;  // unpadded
  int group;    // outputs multiplied at a time
  RFDN_INLINE int groups() const { return (outputs + group - 1) / group; }
};

// A thread's own memory between the steps of a kernel, for the largest layer.
struct Scratch {
  const std::int32_t* zeros;  // a block of zeros: what lies outside the picture
  std::int32_t* values;       // transformed inputs
  std::int32_t* products;     // sums of products
  std::int32_t* pixels;       // the tiles' own pixels, as integers
};

RFDN_INLINE int lesser(int a, int b) { return a < b ? a : b; }

}  // namespace rfdn
