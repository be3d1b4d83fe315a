// A network's weights, from tensors in the order in which a picture meets them.
#include <algorithm>
#include <stdexcept>

#include "network.hpp"

namespace rfdn {
namespace {

class Reader {
 public:
  Reader(const rfdn_tensor* tensors, int count) : next_(tensors), end_(tensors + count) {}

  // The next tensor, which must have that shape.
  Filter take(int outputs, int inputs, int size) {
    if (next_ == end_) throw std::invalid_argument("there are too few layers for these options");
    const rfdn_tensor& t = *next_++;
    if (t.outputs != outputs || t.inputs != inputs || t.size != size)
      throw std::invalid_argument("layer " + std::string(t.name) + " has " + shape(t.outputs, t.inputs, t.size) +
                                  " where the options say " + shape(outputs, inputs, size));
    return {t.name, t.weight, t.bias, outputs, inputs};
  }

  Small take_small(int outputs, int inputs, int size) {
    const Filter f = take(outputs, inputs, size);
    return {{f.weight, f.weight + static_cast<std::size_t>(outputs) * inputs * size * size},
            {f.bias, f.bias + outputs}};
  }

  void finish() const {
    if (next_ != end_) throw std::invalid_argument("there is no place for layer " + std::string(next_->name));
  }

 private:
  static std::string shape(int outputs, int inputs, int size) {
    return std::to_string(outputs) + "x" + std::to_string(inputs) + "x" + std::to_string(size);
  }
  const rfdn_tensor *next_, *end_;
};

// conv_f follows conv1 without an activation between, so both read the same map as one convolution: first what the
// mask takes (conv_f of conv1), then what the far branch takes (conv1).
Packed pack_near(const Filter& conv1, const Filter& conv_f, const Kernels& kernels) {
  const int inner = conv1.outputs, inputs = conv1.inputs;
  std::vector<float> weight(2 * static_cast<std::size_t>(inner) * inputs), bias(2 * inner);
  for (int o = 0; o < inner; o++) {
    const float* mix = conv_f.weight + o * inner;
    double offset = conv_f.bias[o];
    for (int k = 0; k < inner; k++) offset += static_cast<double>(mix[k]) * conv1.bias[k];
    bias[o] = static_cast<float>(offset), bias[inner + o] = conv1.bias[o];
    for (int i = 0; i < inputs; i++) {
      double sum = 0;
      for (int k = 0; k < inner; k++) sum += static_cast<double>(mix[k]) * conv1.weight[k * inputs + i];
      weight[o * inputs + i] = static_cast<float>(sum);
      weight[(inner + o) * inputs + i] = conv1.weight[o * inputs + i];
    }
  }
  return pack1x1({conv1.name, weight.data(), bias.data(), 2 * inner, inputs}, kernels, inputs);
}

// Block k's part of the convolution over all blocks' maps; the first part brings the bias.
Packed pack_part(const Filter& whole, int k, int channels, const Kernels& kernels) {
  std::vector<float> weight;
  for (int o = 0; o < whole.outputs; o++) {
    const float* from = whole.weight + static_cast<std::ptrdiff_t>(o) * whole.inputs + k * channels;
    weight.insert(weight.end(), from, from + channels);
  }
  std::vector<float> bias(whole.outputs, 0);
  if (k == 0) bias.assign(whole.bias, whole.bias + whole.outputs);
  return pack1x1({whole.name, weight.data(), bias.data(), whole.outputs, channels}, kernels, channels);
}

}  // namespace

Network::Network(const rfdn_options& options, const rfdn_tensor* tensors, int count, int threads,
                 const Kernels& kernels)
    : options_(options), kernels_(kernels), team_(threads), blocks_(std::max(0, options.blocks)) {
  const auto& o = options_;
  if (o.channels < 1 || o.distilled < 1 || o.blocks < 1 || o.inner < 1 || o.scale < 1 || threads < 1)
    throw std::invalid_argument("channels, parts, blocks, scale and threads are 1 or more");
  read(tensors, count);
  const auto measure = [&](const Packed& packed) {
    most_pairs_ = std::max(most_pairs_, packed.pairs);
    most_outputs_ = std::max(most_outputs_, packed.view().groups() * packed.group);
  };
  for (const Packed* packed : {&first_, &refine_, &last_}) measure(*packed);
  for (const Block& b : blocks_) {
    for (const Packed* packed : {&b.last, &b.fuse, &b.near, &b.whole}) measure(*packed);
    for (int j = 0; j < 3; j++) measure(b.distil[j]), measure(b.step[j]);
  }
}

void Network::read(const rfdn_tensor* tensors, int count) {
  const auto& o = options_;
  Reader reader(tensors, count);
  first_ = pack3x3(reader.take(o.channels, 3, 3), kernels_);
  for (Block& block : blocks_) {
    for (int j = 0; j < 3; j++) {
      if (o.distils) block.distil[j] = pack1x1(reader.take(o.distilled, o.channels, 1), kernels_, o.channels);
      block.step[j] = pack3x3(reader.take(o.channels, o.channels, 3), kernels_);
    }
    block.last = pack3x3(reader.take(o.distilled, o.channels, 3), kernels_);
    block.fuse = pack1x1(reader.take(o.channels, (o.distils ? 4 : 1) * o.distilled, 1), kernels_, o.distilled);
    if (o.esa) {
      const Filter conv1 = reader.take(o.inner, o.channels, 1);
      block.near = pack_near(conv1, reader.take(o.inner, o.inner, 1), kernels_);
      block.halve = reader.take_small(o.inner, o.inner, 3);
      for (Small& far : block.far) far = reader.take_small(o.inner, o.inner, 3);
      block.mask = reader.take_small(o.channels, o.inner, 1);
      block.mask.weight.resize((o.channels + 1) / 2 * 2 * static_cast<std::size_t>(o.inner));
      block.mask.bias.resize((o.channels + 1) / 2 * 2);
    } else {
      block.squeeze = reader.take_small(o.inner, o.channels, 1);
      block.widen = reader.take_small(o.channels, o.inner, 1);
    }
  }
  const Filter whole = reader.take(o.channels, o.blocks * o.channels, 1);
  for (int k = 0; k < o.blocks; k++) blocks_[k].whole = pack_part(whole, k, o.channels, kernels_);
  refine_ = pack3x3(reader.take(o.channels, o.channels, 3), kernels_);
  last_ = pack3x3(reader.take(3 * o.scale * o.scale, o.channels, 3), kernels_);
  reader.finish();
}

}  // namespace rfdn
