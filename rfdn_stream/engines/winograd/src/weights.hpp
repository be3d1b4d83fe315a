// Filters as the kernels want them: transformed, in int16, with a scale an output.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace rfdn {

// A convolution's weights as they are in a network: [output][input][size][size], and where they come from.
struct Filter {
  std::string name;
  const float* weight;
  const float* bias;
  int outputs, inputs;
};

// Owns what a Conv points to.
struct Packed {
  std::vector<std::int32_t> weights;
  std::vector<float> scale, bias;
  int pairs = 0, outputs = 0, group = 1;

  Conv view() const { return {weights.data(), scale.data(), bias.data(), pairs, outputs, group}; }
};

// `part` inputs at a time lie in pairs of their own, the last of which is half empty where they are odd: so a map that
// is made of several parts. Throws std::invalid_argument, naming the layer, where a weight is not finite or too large.
Packed pack3x3(const Filter&, const Kernels&);
Packed pack1x1(const Filter&, const Kernels&, int part);

}  // namespace rfdn
