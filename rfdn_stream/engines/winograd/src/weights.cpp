#include "weights.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "points.hpp"

namespace rfdn {
namespace {

constexpr float kLargestHalf = 65504;  // what maps can hold

constexpr double kLargestInteger = 32767;    // of int16
constexpr double kLargestSum = 2147000000;  // of int32, less what rounding adds

void check(const Filter& filter, int size) {
  const auto refuse = [&](const char* what) { throw std::invalid_argument("layer " + filter.name + ": " + what); };
  const std::size_t count = static_cast<std::size_t>(filter.outputs) * filter.inputs * size * size;
  if (!std::all_of(filter.weight, filter.weight + count, [](float w) { return std::isfinite(w); }))
    refuse("a weight is not finite");
  if (!std::all_of(filter.bias, filter.bias + filter.outputs, [](float b) { return std::fabs(b) <= kLargestHalf; }))
    refuse("a bias is beyond the half floats of its map");
}

// The number of outputs multiplied at a time that wastes the fewest.
int best_group(int outputs, const Kernels& kernels) {
  const auto padded = [&](int group) { return (outputs + group - 1) / group * group; };
  return *std::min_element(kernels.groups, kernels.groups + kernels.group_count,
                           [&](int a, int b) { return padded(a) < padded(b); });
}

// `values` [frequency][output][input] to int16, every output with the finest scale whose sums of products with inputs
// up to `limit` fit int32 at all frequencies.
Packed pack(const Filter& filter, const std::vector<double>& values, int frequencies, int part,
            double limit, const Kernels& kernels) {
  Packed packed;
  packed.pairs = filter.inputs / part * ((part + 1) / 2);
  packed.outputs = filter.outputs;
  packed.group = best_group(filter.outputs, kernels);
  packed.bias.assign(filter.bias, filter.bias + filter.outputs);
  const int groups = packed.view().groups();
  packed.weights.assign(static_cast<std::size_t>(frequencies) * groups * packed.pairs * packed.group, 0);
  const auto value = [&](int f, int o, int i) {
    return values[(static_cast<std::size_t>(f) * filter.outputs + o) * filter.inputs + i];
  };
  for (int o = 0; o < filter.outputs; o++) {
    double largest = 0, largest_sum = 0;
    for (int f = 0; f < frequencies; f++) {
      double sum = 0;
      for (int i = 0; i < filter.inputs; i++) {
        sum += std::fabs(value(f, o, i));
        largest = std::max(largest, std::fabs(value(f, o, i)));
      }
      largest_sum = std::max(largest_sum, sum);
    }
    const double scale = std::max(largest / kLargestInteger, largest_sum / (kLargestSum / limit));
    if (scale > std::numeric_limits<float>::max())
      throw std::invalid_argument("layer " + filter.name + ": its weights are too large for float32 sums");
    packed.scale.push_back(static_cast<float>(scale));
    for (int f = 0; f < frequencies && scale > 0; f++)
      for (int i = 0; i < filter.inputs; i++) {
        const int place = i / part * ((part + 1) / 2) * 2 + i % part;  // of the input among the map's channels
        const auto integer = static_cast<std::uint32_t>(std::lrint(value(f, o, i) / scale)) & 0xffff;
        packed.weights[((static_cast<std::size_t>(f) * groups + o / packed.group) * packed.pairs + place / 2) *
                           packed.group + o % packed.group] |= static_cast<std::int32_t>(integer << 16 * (place % 2));
      }
  }
  return packed;
}

}  // namespace

Packed pack3x3(const Filter& filter, const Kernels& kernels) {
  check(filter, 3);
  const std::size_t plane = static_cast<std::size_t>(filter.outputs) * filter.inputs;
  std::vector<double> values(kFrequencies * plane);
  for (std::size_t at = 0; at < plane; at++) {
    double transformed[kFrequencies];
    transform_filter(filter.weight + 9 * at, transformed);
    for (int f = 0; f < kFrequencies; f++) values[f * plane + at] = transformed[f];
  }
  return pack(filter, values, kFrequencies, filter.inputs, kValueLimit, kernels);
}

Packed pack1x1(const Filter& filter, const Kernels& kernels, int part) {
  check(filter, 1);
  const std::size_t count = static_cast<std::size_t>(filter.outputs) * filter.inputs;
  return pack(filter, {filter.weight, filter.weight + count}, 1, part, kInputLimit, kernels);
}

}  // namespace rfdn
