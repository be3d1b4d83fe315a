// The memory of a network's maps.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "kernels.hpp"

namespace rfdn {

// One block of memory for everything whose size depends on the picture's: laid out anew for another size, and taken
// anew only where it has to grow.
class Arena {
 public:
  // Calls `lay_out` twice, to count and to hand out. False: no memory.
  bool prepare(const std::function<void(Arena&)>& lay_out);
  void* take(std::size_t bytes);
  static std::size_t count(const std::function<void(Arena&)>& lay_out);

 private:
  struct Free {
    void operator()(char* memory) const;
  };
  std::unique_ptr<char, Free> memory_;
  std::size_t size_ = 0, used_ = 0;
  bool counting_ = true;
};

inline int tile_rows(int height) { return (height + kTile - 1) / kTile; }

// A map that keeps so many rows of tiles; 0 = all.
Map take_map(Arena&, const Kernels&, int channels, int height, int width, int kept_rows = 0);
// Planes with a border of zeros around each.
Planes take_planes(Arena&, int planes, int height, int width, int border = 0);
// A thread's scratch for convolutions up to that size.
Scratch take_scratch(Arena&, const Kernels&, int pairs, int outputs);

}  // namespace rfdn
