// Random small RFDNs on random small pictures, for sanitizers to watch: `winograd_fuzz SEED COUNT`.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "api.h"

namespace {

thread_local std::mt19937 random_bits;

int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_bits); }

std::vector<float> noise(std::size_t count, float size) {
  std::normal_distribution<float> normal(0, size);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random_bits);
  return values;
}

struct Weights {
  std::vector<std::vector<float>> kept;
  std::vector<rfdn_tensor> tensors;

  void add(int outputs, int inputs, int size) {
    kept.push_back(noise(static_cast<std::size_t>(outputs) * inputs * size * size, 0.5f / std::sqrt(1.f * inputs * size)));
    kept.push_back(noise(outputs, 0.1f));
    tensors.push_back({"layer", kept[kept.size() - 2].data(), kept.back().data(), outputs, inputs, size});
  }
};

Weights weights_for(const rfdn_options& o) {
  Weights w;
  w.kept.reserve(1000);
  w.add(o.channels, 3, 3);
  for (int block = 0; block < o.blocks; block++) {
    for (int step = 0; step < 3; step++) {
      if (o.distils) w.add(o.distilled, o.channels, 1);
      w.add(o.channels, o.channels, 3);
    }
    w.add(o.distilled, o.channels, 3);
    w.add(o.channels, (o.distils ? 4 : 1) * o.distilled, 1);
    w.add(o.inner, o.channels, 1);
    if (o.esa) {
      w.add(o.inner, o.inner, 1);
      for (int far = 0; far < 4; far++) w.add(o.inner, o.inner, 3);
    }
    w.add(o.channels, o.inner, 1);
  }
  w.add(o.channels, o.blocks * o.channels, 1);
  w.add(o.channels, o.channels, 3);
  w.add(3 * o.scale * o.scale, o.channels, 3);
  return w;
}

// A picture with memory of its own, so that a read beyond it is seen.
void enlarge(rfdn_network* network, int scale, int height, int width) {
  const int row = width + between(0, 3);
  const auto picture = noise(static_cast<std::size_t>(2 * height * row + (height - 1) * row + width), 1);
  std::vector<float> result(3u * scale * height * scale * width, NAN);
  if (rfdn_run(network, picture.data(), static_cast<std::ptrdiff_t>(height) * row, row, height, width, result.data()))
    std::abort();
  for (const float v : result)
    if (!std::isfinite(v)) std::abort();
}

}  // namespace

int main(int, char** arguments) {
  random_bits.seed(static_cast<unsigned>(std::atoi(arguments[1])));
  for (int n = 0; n < std::atoi(arguments[2]); n++) {
    rfdn_options o{between(1, 14), between(1, 9), between(1, 3), between(1, 4), between(1, 5),
                   between(0, 1), between(0, 1), between(0, 1)};
    char error[256] = "";
    rfdn_network* network = nullptr;
    {
      const Weights w = weights_for(o);  // copied by the library: gone before it runs
      network = rfdn_create(&o, w.tensors.data(), static_cast<int>(w.tensors.size()), between(1, 4), RFDN_AVX2, error,
                            sizeof error);
    }
    if (!network) {
      std::printf("%s\n", error);
      return 1;
    }
    const int least = o.esa ? 15 : 1;
    std::thread other([&, n] {  // they take turns
      random_bits.seed(static_cast<unsigned>(n));
      enlarge(network, o.scale, least + 2, least + 30);
    });
    for (int size = 0; size < 3; size++) enlarge(network, o.scale, between(least, 40), between(least, 80));
    other.join();
    rfdn_destroy(network);
  }
  return 0;
}
