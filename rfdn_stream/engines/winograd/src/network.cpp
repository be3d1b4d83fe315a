#include "network.hpp"

#include <cmath>

namespace rfdn {
namespace {

constexpr float kSlope = 0.05f;  // of LeakyReLU

}  // namespace

std::size_t Network::bytes(int height, int width) const {
  Maps maps;
  return Arena::count([&](Arena& arena) { lay_out(arena, maps, height, width); });
}

void Network::lay_out(Arena& arena, Maps& m, int height, int width) const {
  const auto& o = options_;
  const int next = rows_to_keep(1, team_.size()), far_on = rows_to_keep(3, team_.size());
  const auto map = [&](int channels, int kept = 0) { return take_map(arena, kernels_, channels, height, width, kept); };
  m.height = height, m.width = width;
  m.image = map(3, next);
  m.shallow = map(o.channels);
  m.input = map(o.channels, o.residual ? 0 : next);
  for (auto& step : m.step) step = map(o.channels, next);
  const int part = (o.distilled + 1) / 2 * 2;
  m.distilled = map(o.distils ? 4 * part : part, far_on);
  m.fused = map(o.channels);
  m.total = map(o.blocks > 1 ? o.channels : 0);
  m.deep = map(o.channels, next);
  m.sharp = map(o.channels, next);
  if (o.esa) {
    m.mask = map(o.inner);
    m.near = take_planes(arena, o.inner, height, width);
    m.halved = take_planes(arena, o.inner, (height - 3) / 2 + 1, (width - 3) / 2 + 1);
    for (auto& far : m.far)
      far = take_planes(arena, o.inner, (m.halved.height - 7) / 3 + 1, (m.halved.width - 7) / 3 + 1, 1);
    const std::size_t line = static_cast<std::size_t>(m.mask.blocks()) * kTile * kernels_.lanes;
    m.wide = static_cast<float*>(arena.take(m.far[0].height * o.inner * line * sizeof(float)));
  } else {
    m.sums.assign(static_cast<std::size_t>(tile_rows(height)) * m.fused.pairs * 4, 0);
    m.by_channel.assign(2 * m.fused.pairs, 0);
  }
  m.scratch.resize(team_.size());
  for (auto& s : m.scratch) s = take_scratch(arena, kernels_, most_pairs_, most_outputs_);
}

// The stages from the block before (or the picture) to what block k fuses.
std::vector<Stage> Network::block_stages(int k, const Planes& picture) {
  std::vector<Stage> stages;
  const int next = rows_to_keep(1, team_.size());
  if (k == 0) {
    stages.push_back({[this, picture](int row, int) { kernels_.load(picture, 3, maps_.image, row); }, {}});
    Conv3x3 conv;
    conv.source = maps_.image, conv.conv = first_.view(), conv.target = maps_.shallow;
    stages.push_back({[this, conv](int row, int worker) { kernels_.conv3x3(conv, row, maps_.scratch[worker]); },
                      {{0, 1, next}}});
    add_block(k, stages, maps_.shallow, {1, 1, 0});
  } else {
    stages.push_back(enter(k, maps_.total));
    add_block(k, stages, maps_.input, {0, 1, options_.residual ? 0 : next});
  }
  return stages;
}

// Three steps, each with its distilled part beside it; then the last part, what fuses them, and what the attention
// must see of it all.
void Network::add_block(int k, std::vector<Stage>& stages, const Map& source, Need need) {
  const auto& o = options_;
  const Block& block = blocks_[k];
  const int next = rows_to_keep(1, team_.size()), far_on = rows_to_keep(3, team_.size());
  const int part = (o.distilled + 1) / 2;
  Conv3x3 conv;
  conv.source = source, conv.slope = kSlope;
  std::vector<Need> last_needs;
  for (int j = 0; j < 3; j++) {
    conv.conv = block.step[j].view(), conv.target = maps_.step[j];
    if (o.distils) {
      conv.beside = block.distil[j].view(), conv.beside_target = maps_.distilled.part(j * part, part);
      last_needs.push_back({static_cast<int>(stages.size()), 0, far_on});
    }
    stages.push_back({[this, conv](int row, int worker) { kernels_.conv3x3(conv, row, maps_.scratch[worker]); }, {need}});
    conv.source = conv.target;
    need = {static_cast<int>(stages.size()) - 1, 1, next};
  }
  last_needs.push_back(need);
  conv.conv = block.last.view(), conv.beside = {}, conv.target = maps_.distilled.part(o.distils ? 3 * part : 0, part);
  Conv1x1 fuse, near;
  fuse.source = maps_.distilled, fuse.conv = block.fuse.view(), fuse.target = maps_.fused;
  if (o.esa) {
    near.source = maps_.fused, near.conv = block.near.view(), near.target = maps_.mask;
    near.near = maps_.near, near.near_from = o.inner;
  }
  stages.push_back({[this, conv, fuse, near](int row, int worker) {
                      const Scratch& scratch = maps_.scratch[worker];
                      kernels_.conv3x3(conv, row, scratch);
                      kernels_.conv1x1(fuse, row, scratch);
                      if (options_.esa)
                        kernels_.conv1x1(near, row, scratch);
                      else
                        kernels_.sums(maps_.fused, row, &maps_.sums[row * 4 * maps_.fused.pairs]);
                    },
                    last_needs});
}

// The attention of block k - 1, which makes the input of block k, and that block's part in the fusion of all.
Stage Network::enter(int k, const Map& fused_into) {
  const auto& o = options_;
  const Block& block = blocks_[k - 1];
  Attend attend;
  attend.source = maps_.fused, attend.target = maps_.input;
  if (o.residual) attend.added = k == 1 ? maps_.shallow : maps_.input;
  if (o.esa) {
    attend.mask = maps_.mask, attend.far = maps_.wide, attend.far_height = maps_.far[0].height, attend.inner = o.inner;
    attend.weight = block.mask.weight.data(), attend.bias = block.mask.bias.data();
  } else {
    attend.by_channel = maps_.by_channel.data();
  }
  Conv1x1 fuse;
  fuse.source = maps_.input, fuse.conv = block.whole.view(), fuse.target = fused_into;
  if (k > 1) fuse.added = maps_.total;
  if (k == o.blocks) fuse.slope = kSlope;
  return {[this, attend, fuse](int row, int worker) {
            kernels_.attend(attend, row, maps_.scratch[worker]);
            kernels_.conv1x1(fuse, row, maps_.scratch[worker]);
          },
          {}};
}

std::vector<Stage> Network::end_stages(const Planes& result) {
  const int next = rows_to_keep(1, team_.size());
  Conv3x3 refine, last;
  refine.source = maps_.deep, refine.conv = refine_.view(), refine.target = maps_.sharp, refine.added = maps_.shallow;
  last.source = maps_.sharp, last.conv = last_.view(), last.scale = options_.scale, last.picture = result;
  const auto conv = [this](const Conv3x3& c) {
    return [this, c](int row, int worker) { kernels_.conv3x3(c, row, maps_.scratch[worker]); };
  };
  return {enter(options_.blocks, maps_.deep), {conv(refine), {{0, 1, next}}}, {conv(last), {{1, 1, next}}}};
}

bool Network::run(const Planes& picture, const Planes& result) {
  std::lock_guard<std::mutex> lock(turn_);
  if (maps_.height != picture.height || maps_.width != picture.width) {
    maps_.height = 0;  // until it is laid out
    if (!arena_.prepare([&](Arena& arena) { lay_out(arena, maps_, picture.height, picture.width); })) {
      maps_.height = 0;
      return false;
    }
  }
  const int rows = tile_rows(picture.height);
  for (int k = 0; k < options_.blocks; k++) {
    rfdn::run(block_stages(k, picture), rows, team_);
    if (options_.esa)
      look_afar(blocks_[k]);
    else
      weigh_channels(blocks_[k]);
  }
  rfdn::run(end_stages(result), rows, team_);
  return true;
}

// ESA's far branch, at a sixth of the size.
void Network::look_afar(const Block& block) {
  const auto each = [&](void (*kernel)(const SmallConv&, int), const Planes& source, const Planes& target,
                        const Small& small, bool relu) {
    const SmallConv conv{source, target, options_.inner, small.weight.data(), small.bias.data(), relu};
    rfdn::run([&](int row, int) { kernel(conv, row); }, target.height, team_);
  };
  const Planes &here = maps_.far[0], &there = maps_.far[1];
  each(kernels_.halve, maps_.near, maps_.halved, block.halve, false);
  each(kernels_.pool, maps_.halved, here, {}, false);
  each(kernels_.small_conv, here, there, block.far[0], true);
  each(kernels_.small_conv, there, here, block.far[1], true);
  each(kernels_.small_conv, here, there, block.far[2], false);
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(maps_.mask.blocks()) * kTile * kernels_.lanes;
  rfdn::run([&](int row, int) {
    kernels_.widen(there, options_.inner, row, maps_.width, maps_.wide + row * options_.inner * line);
  }, there.height, team_);
}

// CCA's weight of each channel, from its mean and standard deviation. In double, so that no small deviation drowns in
// a large mean.
void Network::weigh_channels(const Block& block) {
  const int channels = options_.channels, inner = options_.inner;
  const double count = static_cast<double>(maps_.height) * maps_.width;
  std::vector<double> contrast(channels), squeezed(inner);
  for (int c = 0; c < channels; c++) {
    double sum = 0, squares = 0;
    for (std::size_t at = 2 * c; at < maps_.sums.size(); at += 4 * maps_.fused.pairs)
      sum += maps_.sums[at], squares += maps_.sums[at + 1];
    const double mean = sum / count, variance = squares / count - mean * mean;
    contrast[c] = mean + std::sqrt(variance < 0 ? 0 : variance);  // NaN stays
  }
  const auto layer = [](const Small& small, const std::vector<double>& x, int output) {
    double sum = small.bias[output];
    for (std::size_t i = 0; i < x.size(); i++) sum += small.weight[output * x.size() + i] * x[i];
    return sum;
  };
  for (int i = 0; i < inner; i++) {
    squeezed[i] = layer(block.squeeze, contrast, i);
    if (squeezed[i] < 0) squeezed[i] = 0;
  }
  for (int c = 0; c < channels; c++)
    maps_.by_channel[c] = static_cast<float>(1 / (1 + std::exp(-layer(block.widen, squeezed, c))));
}

}  // namespace rfdn
