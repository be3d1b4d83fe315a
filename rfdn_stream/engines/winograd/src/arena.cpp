#include "arena.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "points.hpp"

namespace rfdn {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kGap = 64;  // forbidden bytes after each map: the arena hides its maps' ends from the sanitizer
#else
constexpr std::size_t kGap = 0;
#endif
constexpr std::size_t kHugePage = 2 << 20;  // what x86 translates at a time, where the system grants it

}  // namespace

bool Arena::prepare(const std::function<void(Arena&)>& lay_out) {
  counting_ = true, used_ = 0;
  lay_out(*this);
  if (used_ > size_) {
    memory_.reset();
    size_ = 0;
    memory_.reset(static_cast<char*>(::operator new(used_, std::align_val_t{kHugePage}, std::nothrow)));
    if (!memory_) return false;
    size_ = used_;
#ifdef __linux__
    madvise(memory_.get(), size_, MADV_HUGEPAGE);  // a wish: hundreds of MB are slow to walk in pages of 4 KB
#endif
  }
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(memory_.get(), size_);
#endif
  std::memset(memory_.get(), 0, used_);
  counting_ = false, used_ = 0;
  lay_out(*this);
  return true;
}

std::size_t Arena::count(const std::function<void(Arena&)>& lay_out) {
  Arena arena;
  lay_out(arena);
  return arena.used_;
}

void* Arena::take(std::size_t bytes) {
  char* place = counting_ ? nullptr : memory_.get() + used_;
  used_ += (bytes + kLine - 1) / kLine * kLine + kGap;
#ifdef __SANITIZE_ADDRESS__
  if (place) ASAN_POISON_MEMORY_REGION(place + bytes, memory_.get() + used_ - (place + bytes));
#endif
  return place;
}

void Arena::Free::operator()(char* memory) const { ::operator delete(memory, std::align_val_t{kHugePage}); }

Map take_map(Arena& arena, const Kernels& kernels, int channels, int height, int width, int kept_rows) {
  Map map;
  map.height = height, map.width = width, map.lanes = kernels.lanes;
  map.pairs = map.whole_pairs = (channels + 1) / 2;
  map.stored = kTile * (kept_rows ? std::min(kept_rows, tile_rows(height)) : tile_rows(height));
  map.data = static_cast<std::int32_t*>(arena.take(map.stored * map.row_stride() * sizeof(std::int32_t)));
  return map;
}

Planes take_planes(Arena& arena, int planes, int height, int width, int border) {
  Planes result;
  result.height = height, result.width = width;
  result.row_stride = width + 2 * border;
  result.plane_stride = result.row_stride * (height + 2 * border);
  auto* data = static_cast<float*>(arena.take(planes * result.plane_stride * sizeof(float)));
  result.data = data ? data + border * (result.row_stride + 1) : nullptr;
  return result;
}

Scratch take_scratch(Arena& arena, const Kernels& kernels, int pairs, int outputs) {
  const std::size_t vector = static_cast<std::size_t>(kernels.wide) * kernels.lanes * sizeof(std::int32_t);
  const auto dwords = [&](std::size_t vectors) { return static_cast<std::int32_t*>(arena.take(vectors * vector)); };
  return {dwords(kTile * pairs), dwords(kFrequencies * pairs), dwords(kFrequencies * outputs),
          dwords(kTile * kTile * pairs)};
}

}  // namespace rfdn
