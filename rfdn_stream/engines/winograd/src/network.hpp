// A whole RFDN: its layers, its maps, and the order in which rows of them are computed.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "api.h"
#include "arena.hpp"
#include "schedule.hpp"
#include "weights.hpp"

namespace rfdn {

// A small convolution in float32: of ESA's far branch, or of an attention's weights.
struct Small {
  std::vector<float> weight, bias;
};

struct Block {
  Packed distil[3], step[3];  // no `distil` in blocks that distil nothing
  Packed last, fuse;          // c4, c5
  Packed near;                // ESA: conv_f of conv1, then conv1
  Small halve, far[3], mask;  // ESA: conv2; conv_max, conv3, conv3_; conv4
  Small squeeze, widen;       // CCA: conv1, conv2
  Packed whole;               // the part of the whole network's fusing convolution that reads this block
};

class Network {
 public:
  // Throws std::invalid_argument for options and tensors that do not fit each other or this engine.
  Network(const rfdn_options&, const rfdn_tensor* tensors, int count, int threads, const Kernels&);

  int scale() const { return options_.scale; }
  // False: no memory.
  bool run(const Planes& picture, const Planes& result);
  std::size_t bytes(int height, int width) const;
  // Until no picture is in work.
  void wait() { std::lock_guard<std::mutex> lock(turn_); }

 private:
  struct Maps {
    Map image, shallow, input, step[3], distilled, fused, mask, total, deep, sharp;
    Planes near, halved, far[2];  // ESA
    float* wide = nullptr;        // ESA: the far branch, as wide as the picture
    std::vector<double> sums;     // CCA: [row of tiles][channel]{sum, sum of squares}
    std::vector<float> by_channel;
    std::vector<Scratch> scratch;
    int height = 0, width = 0;
  };

  void read(const rfdn_tensor* tensors, int count);
  void lay_out(Arena&, Maps&, int height, int width) const;
  std::vector<Stage> block_stages(int k, const Planes& picture);
  void add_block(int k, std::vector<Stage>&, const Map& source, Need need);
  Stage enter(int k, const Map& fused_into);
  std::vector<Stage> end_stages(const Planes& result);
  void look_afar(const Block&);
  void weigh_channels(const Block&);

  const rfdn_options options_;
  const Kernels& kernels_;
  Team team_;
  std::mutex turn_;
  Packed first_, refine_, last_;  // fea_conv, LR_conv, upsampler
  std::vector<Block> blocks_;
  int most_pairs_ = 0, most_outputs_ = 0;  // of any convolution
  Arena arena_;
  Maps maps_;
};

// One convolution by itself: planes in, planes out.
void run_layer(const rfdn_tensor&, float slope, const Kernels&, const float* source, int height, int width,
               float* target);

}  // namespace rfdn
