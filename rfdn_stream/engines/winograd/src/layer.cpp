// One convolution by itself, as tests compare it.
#include <cmath>
#include <stdexcept>
#include <string>

#include "network.hpp"

namespace rfdn {
namespace {

float from_half(unsigned bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value;
  if (exponent == 31)
    value = fraction ? NAN : INFINITY;
  else if (exponent)
    value = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  else
    value = std::ldexp(static_cast<float>(fraction), -24);
  return bits >> 15 & 1 ? -value : value;
}

float pixel(const Map& map, int channel, int y, int x) {
  const int tile = x / kTile;
  const auto dword = static_cast<std::uint32_t>(map.block(y, tile / map.lanes)[x % kTile * map.phase_stride() +
                                                                            channel / 2 * map.lanes + tile % map.lanes]);
  return from_half(channel % 2 ? dword >> 16 : dword & 0xffff);
}

}  // namespace

void run_layer(const rfdn_tensor& tensor, float slope, const Kernels& kernels, const float* source, int height,
               int width, float* target) {
  const Filter filter{tensor.name, tensor.weight, tensor.bias, tensor.outputs, tensor.inputs};
  if (tensor.size != 1 && tensor.size != 3) throw std::invalid_argument("a layer is 1x1 or 3x3");
  const Packed packed = tensor.size == 3 ? pack3x3(filter, kernels) : pack1x1(filter, kernels, tensor.inputs);
  Map from, to;
  Scratch scratch;
  Arena arena;
  const auto lay_out = [&](Arena& a) {
    from = take_map(a, kernels, tensor.inputs, height, width), to = take_map(a, kernels, tensor.outputs, height, width);
    scratch = take_scratch(a, kernels, packed.pairs, packed.view().groups() * packed.group);
  };
  if (!arena.prepare(lay_out)) throw std::bad_alloc();
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(height) * width;
  const Planes planes{const_cast<float*>(source), plane, width, height, width};
  Conv3x3 wide;
  Conv1x1 narrow;
  wide.source = narrow.source = from, wide.target = narrow.target = to;
  wide.conv = narrow.conv = packed.view(), wide.slope = narrow.slope = slope;
  for (int row = 0; row < tile_rows(height); row++) kernels.load(planes, tensor.inputs, from, row);
  for (int row = 0; row < tile_rows(height); row++)
    tensor.size == 3 ? kernels.conv3x3(wide, row, scratch) : kernels.conv1x1(narrow, row, scratch);
  for (int c = 0; c < tensor.outputs; c++)
    for (int y = 0; y < height; y++)
      for (int x = 0; x < width; x++) target[c * plane + static_cast<std::ptrdiff_t>(y) * width + x] = pixel(to, c, y, x);
}

}  // namespace rfdn
