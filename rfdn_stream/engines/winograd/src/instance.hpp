// The table of kernels of one instruction set.
#pragma once

#include "attention.hpp"
#include "conv1x1.hpp"
#include "conv3x3.hpp"
#include "peak.hpp"
#include "small.hpp"

namespace rfdn {
namespace {

template <class I>
constexpr Kernels table(const char* name) {
  return {name,       I::kLanes,     I::kWide,   I::kGroups, sizeof(I::kGroups) / sizeof(int), I::kTileOf,
          load<I>,    conv3x3<I>,    conv1x1<I>, attend<I>,  sums<I>,
          halve<I>,   pool<I>,       small_conv<I>, widen<I>, operations<I>};
}

}  // namespace
}  // namespace rfdn
