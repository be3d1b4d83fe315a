// The transform of filters of F(4x4, 3x3), and the constants that it shares with the transform of sums.
#pragma once

namespace rfdn {

constexpr int kFrequencies = 36;

// The largest integers that stand for pixels, in a 1x1 convolution and before a transform, and that come out of one.
// Three times the first fits int16. The smaller the second, the finer may be the filters, whose products must fit
// int32 when they are added; most tiles stay below it by themselves.
constexpr float kInputLimit = 10900, kValueLimit = 16384;

// The outputs' weights of the points 2, -2 and of infinity. They could stand in the filters instead; here they keep
// the filters' transform even, so that fewer bits of int16 are lost.
constexpr float kDoublePoint = 0.375f, kInfinity = 4;

// G w G^T of a 3x3 filter, [6][6], to match the divided rows of the inputs' transform.
inline void transform_filter(const float* w, double* out) {
  static const double g[6][3] = {{1, 0, 0},
                                 {2 / 3., 2 / 3., 2 / 3.},
                                 {-2 / 3., 2 / 3., -2 / 3.},
                                 {1 / 12., 1 / 6., 1 / 3.},
                                 {1 / 12., -1 / 6., 1 / 3.},
                                 {0, 0, 4}};
  static const double weight[6] = {1, 1, 1, kDoublePoint, kDoublePoint, kInfinity};
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 6; j++) {
      double sum = 0;
      for (int k = 0; k < 3; k++)
        for (int l = 0; l < 3; l++) sum += g[i][k] * g[j][l] * w[3 * k + l];
      out[6 * i + j] = sum / (weight[i] * weight[j]);
    }
}

}  // namespace rfdn
