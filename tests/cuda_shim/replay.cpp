// Just enough CUDA for g++ to run colour.cu on the CPU: a program that reads launches from its standard input, each
// with all the memory that its kernel may touch, and writes that memory back.
//
//   replay heap | front | back    run launches; memory from malloc, or flush against a guard page before or behind it
//   replay layout                 print offset and size of each field of the structs
//
// Only the shim's own process dies of a wild access, so that sanitizers and guard pages need no help from Python.
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::max;
using std::min;

struct Dim3 { unsigned x, y, z; };
static thread_local Dim3 blockIdx, threadIdx, blockDim;

template <class To, class From> static To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
static unsigned __float_as_uint(float value) { return bits_as<unsigned>(value); }
static unsigned short f16_from_float(float value) { return bits_as<unsigned short>((_Float16)value); }
static float float_from_f16(unsigned short bits) { return (float)bits_as<_Float16>(bits); }

#include COLOUR_CU

struct Launch {
  char kernel[32];
  Dim3 grid, block;
  unsigned seed;     // of the order in which the CUDA threads run
  unsigned workers;  // real threads that share them
  unsigned buffers;
};

struct Buffer {
  u64 address, size;  // as the caller sees them
  char *memory;       // the copy that the kernel works on
};

static bool read(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

static char *allocate(size_t size, const std::string &where) {
  if (where == "heap") return (char *)malloc(size);
  const size_t page = 4096, room = (size + page - 1) / page * page;
  char *all = (char *)mmap(nullptr, room + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(all, page, PROT_NONE);
  mprotect(all + page + room, page, PROT_NONE);
  return where == "front" ? all + page : all + page + room - size;
}

static void release(const Buffer &buffer, const std::string &where) {
  if (where == "heap") return free(buffer.memory);
  char *all = (char *)((u64)buffer.memory & ~4095ull) - 4096;
  munmap(all, (buffer.size + 4095) / 4096 * 4096 + 2 * 4096);
}

static void relocate(u64 &address, const std::vector<Buffer> &buffers) {
  for (const Buffer &b : buffers)
    if (address >= b.address && address - b.address < b.size) {
      address = (u64)b.memory + (address - b.address);
      return;
    }
}

static void run(const Launch &launch, const Params &params) {
  auto *kernel = (void (*)(Params))dlsym(RTLD_DEFAULT, launch.kernel);
  if (!kernel) {
    fprintf(stderr, "no kernel named %s\n", launch.kernel);
    exit(1);
  }
  const Dim3 g = launch.grid, b = launch.block;
  const unsigned threads = b.x * b.y * b.z;
  std::vector<unsigned> order(g.x * g.y * g.z * threads);
  std::iota(order.begin(), order.end(), 0);
  if (launch.seed) std::shuffle(order.begin(), order.end(), std::mt19937(launch.seed));
  auto work = [&](unsigned worker) {
    blockDim = b;
    for (size_t i = worker; i < order.size(); i += launch.workers) {
      const unsigned block = order[i] / threads, thread = order[i] % threads;
      blockIdx = {block % g.x, block / g.x % g.y, block / g.x / g.y};
      threadIdx = {thread % b.x, thread / b.x % b.y, thread / b.x / b.y};
      kernel(params);
    }
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < launch.workers; ++i) workers.emplace_back(work, i);
  work(0);
  for (auto &worker : workers) worker.join();
}

static void serve(const std::string &where) {
  Launch launch;
  while (read(&launch, sizeof launch)) {
    Params params;
    read(&params, sizeof params);
    std::vector<Buffer> buffers(launch.buffers);
    for (Buffer &b : buffers) {
      read(&b.address, sizeof b.address);
      read(&b.size, sizeof b.size);
      b.memory = allocate(b.size, where);
      read(b.memory, b.size);
    }
    for (Plane &plane : params.component) relocate(plane.address, buffers);
    relocate(params.rgb.address, buffers);
    run(launch, params);
    for (const Buffer &b : buffers) {
      fwrite(b.memory, 1, b.size, stdout);
      release(b, where);
    }
    fflush(stdout);
  }
}

#define FIELD(type, field) printf(#type "." #field " %zu %zu\n", offsetof(type, field), sizeof(type::field));

static void layout() {
  FIELD(Plane, address) FIELD(Plane, row) FIELD(Plane, column)
  FIELD(Image, address) FIELD(Image, channel) FIELD(Image, row) FIELD(Image, column)
  FIELD(Axis, luma) FIELD(Axis, chroma) FIELD(Axis, subsampling) FIELD(Axis, first) FIELD(Axis, taps)
  FIELD(Params, component) FIELD(Params, rgb) FIELD(Params, components) FIELD(Params, shift) FIELD(Params, dither)
  FIELD(Params, code_max) FIELD(Params, offset) FIELD(Params, scale) FIELD(Params, matrix) FIELD(Params, x)
  FIELD(Params, y)
  printf("Params 0 %zu\n", sizeof(Params));
}

int main(int, char **argv) {
  const std::string mode = argv[1];
  mode == "layout" ? layout() : serve(mode);
}
