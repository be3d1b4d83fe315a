// The kernels' arguments, and the table of them that each instruction set fills.
#pragma once

#include "layout.hpp"

namespace rfdn {

// target = activation(conv3x3(source)) [+ added], and beside it beside_target = activation(conv1x1(source)).
//
// The activation is max(x, slope * x): 1 = none, 0 = ReLU. With `scale` the result goes, shuffled, to `picture`.
struct Conv3x3 {
  Map source;
  Conv conv{};
  float slope = 1;
  Map target;
  Map added;        // without data: nothing
  Conv beside{};    // without outputs: nothing
  Map beside_target;
  int scale = 0;    // of the pixel shuffle; 0 = none
  Planes picture;
};

// target = activation(conv1x1(source) [+ added]), for the first outputs; the others go to `near`, without activation.
struct Conv1x1 {
  Map source;
  Conv conv{};
  float slope = 1;
  Map target;
  Map added;
  int near_from = 0;  // the first output that goes to `near`; 0 = none does
  Planes near;        // columns split by x mod 2: [plane][row][even columns, then odd ones]
};

// target = source * weight [+ added]. ESA's weight is sigmoid(conv1x1(mask + far)), one for each pixel and channel, where
// `far` is [row][plane][phase][lanes in packed order], wide as the picture and `far_height` rows high; CCA's is a
// number a channel. Weights and biases are there for 2 * pairs channels.
struct Attend {
  Map source, target, added;
  Map mask;
  const float* far = nullptr;
  int far_height = 0;
  int inner = 0;                           // channels of the mask
  const float *weight = nullptr, *bias = nullptr;  // [channel][inner]; of conv1x1
  const float* by_channel = nullptr;       // CCA; null = ESA
};

// Small float32 convolutions of ESA's far branch, one row of all outputs; weight [output][input][3][3].
struct SmallConv {
  Planes source, target;
  int channels = 0;
  const float *weight = nullptr, *bias = nullptr;
  bool relu = false;
};

struct Kernels {
  const char* name;
  int lanes;          // dwords in a vector
  int wide;           // vectors multiplied at a time
  const int* groups;  // how many outputs may be multiplied at a time, the best first
  int group_count;
  const int* tile_of;  // the tile of a lane in packed order

  void (*load)(const Planes&, int count, const Map& target, int tile_row);
  void (*conv3x3)(const Conv3x3&, int tile_row, const Scratch&);
  void (*conv1x1)(const Conv1x1&, int tile_row, const Scratch&);
  void (*attend)(const Attend&, int tile_row, const Scratch&);
  void (*sums)(const Map&, int tile_row, double* sums);  // [channel]{sum, sum of squares}, of one row of tiles

  void (*halve)(const SmallConv&, int row);         // 3x3, stride 2, no padding; the source split by x mod 2
  void (*pool)(const SmallConv&, int row);          // the largest of 7x7, stride 3
  void (*small_conv)(const SmallConv&, int row);    // 3x3, a border of one zero in memory
  void (*widen)(const Planes& source, int planes, int row, int width, float* far);  // bilinear, to `far`'s layout

  double (*operations)(bool integers, int rounds);  // of arithmetic alone; see peak.hpp
};

// Null where this build has no code for it.
const Kernels* kernels_avx2();
const Kernels* kernels_avx_vnni();
const Kernels* kernels_avx512_vnni();

}  // namespace rfdn
