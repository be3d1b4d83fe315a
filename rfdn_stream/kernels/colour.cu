// Codes to RGB (pre) and back (post): the CUDA twin of cpu.py, held to the float64 of reference.py.
//
// One source, two compilers: NVRTC builds it for the GPU, and g++ for the tests, which run it on the CPU, one simulated
// thread after another. Nothing is included, so that NVRTC needs no CUDA headers on the user's machine.
//
// The kernels know of no format, matrix, range or siting: cuda.py fills Params with the numbers of colour.py.
// A picture is three components, of which the last two (chroma) may be subsampled: Y, Cb, Cr. R, G, B is the same
// with the identity as its matrix; gray is the first component alone.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#ifdef __CUDACC__  // what cuda_fp16.h would bring; g++ gets these two from the tests
__device__ __forceinline__ u16 f16_from_float(float value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ __forceinline__ float float_from_f16(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
#endif

struct f16 { u16 bits; };
struct bf16 { u16 bits; };

// One component of the picture; strides are in samples.
struct Plane {
  u64 address;
  i64 row, column;
};

// Three channels of float, f16 or bf16; strides are in elements.
struct Image {
  u64 address;
  i64 channel, row, column;
};

// Columns or rows: how many there are, and how chroma is resampled along them.
struct Axis {
  int luma, chroma;
  int subsampling;  // log2 of luma samples per chroma sample: 0 or 1
  int first[2];     // pre: the first tap of an even and an odd luma sample i, relative to chroma i >> subsampling
  float taps[4];    // pre: two for even, two for odd; post: for the luma samples from (j << subsampling) - 1 on
};

// The one argument of every kernel, by value. cuda.py has the same layout as a NumPy dtype; the tests compare them.
struct Params {
  Plane component[3];
  Image rgb;
  int components;   // 1 or 3
  int shift;        // unused low bits of a sample
  int dither;       // ordered dither instead of rounding
  float code_max;
  float offset[3];  // the code of value 0
  float scale[3];   // pre: value of a code step; post: code steps in a value of 1
  float matrix[9];  // rows; pre: components to RGB; post: RGB to components
  Axis x, y;
};

struct Rgb { float r, g, b; };

__device__ __forceinline__ float load(const float *p) { return *p; }
__device__ __forceinline__ float load(const f16 *p) { return float_from_f16(p->bits); }
__device__ __forceinline__ float load(const bf16 *p) { return __uint_as_float((u32)p->bits << 16); }

__device__ __forceinline__ void store(float *p, float value) { *p = value; }
__device__ __forceinline__ void store(f16 *p, float value) { p->bits = f16_from_float(value); }
__device__ __forceinline__ void store(bf16 *p, float value) {
  const u32 bits = __float_as_uint(value);
  p->bits = (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even; sm_75 has no instruction
}

__device__ __forceinline__ float saturate(float value) { return fminf(fmaxf(value, 0.0f), 1.0f); }  // NaN gives 0
__device__ __forceinline__ int inside(int i, int count) { return min(max(i, 0), count - 1); }

template <class Code>
__device__ __forceinline__ Code *sample(const Params &p, int k, int x, int y) {
  const Plane &plane = p.component[k];
  return (Code *)plane.address + y * plane.row + x * plane.column;
}

template <class Float>
__device__ __forceinline__ Float *pixel(const Params &p, int x, int y) {
  return (Float *)p.rgb.address + y * p.rgb.row + x * p.rgb.column;
}

// The code of component k; where (x, y) leaves chroma's plane, its border is repeated.
template <class Code>
__device__ __forceinline__ float chroma_code(const Params &p, int k, int x, int y) {
  return (float)(*sample<Code>(p, k, inside(x, p.x.chroma), inside(y, p.y.chroma)) >> p.shift);
}

// The code of chroma component k at a luma sample. Taps are multiples of 1/4, so the sum is exact.
template <class Code>
__device__ __forceinline__ float upsample(const Params &p, int k, int x, int y) {
  const int odd_x = x & p.x.subsampling, odd_y = y & p.y.subsampling;
  const int left = (x >> p.x.subsampling) + p.x.first[odd_x];
  const int top = (y >> p.y.subsampling) + p.y.first[odd_y];
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      sum += p.y.taps[2 * odd_y + j] * p.x.taps[2 * odd_x + i] * chroma_code<Code>(p, k, left + i, top + j);
  }
  return sum;
}

// One thread per luma sample.
template <class Code, class Float>
__device__ __forceinline__ void pre(const Params &p) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x;
  const int y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= p.x.luma || y >= p.y.luma) return;

  float value[3] = {(float)(*sample<Code>(p, 0, x, y) >> p.shift), 0.0f, 0.0f};
  if (p.components == 3) {
    value[1] = upsample<Code>(p, 1, x, y);
    value[2] = upsample<Code>(p, 2, x, y);
  }
#pragma unroll
  for (int k = 0; k < 3; ++k) value[k] = (value[k] - p.offset[k]) * p.scale[k];

  Float *out = pixel<Float>(p, x, y);
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float *row = p.matrix + 3 * c;
    store(out + c * p.rgb.channel, saturate(row[0] * value[0] + row[1] * value[1] + row[2] * value[2]));
  }
}

// The 8 x 8 thresholds of ordered dither: the bits of x ^ y and of y, interleaved, the lowest first (colour.bayer).
__device__ __forceinline__ float bayer(int x, int y) {
  int index = 0;
#pragma unroll
  for (int bit = 0; bit < 3; ++bit) index = index << 2 | ((x ^ y) >> bit & 1) << 1 | (y >> bit & 1);
  return (index + 0.5f) / 64.0f;
}

// RGB in [0, 1]; where (x, y) leaves the picture, its border is repeated.
template <class Float>
__device__ __forceinline__ Rgb rgb_at(const Params &p, int x, int y) {
  const Float *in = pixel<Float>(p, inside(x, p.x.luma), inside(y, p.y.luma));
  const i64 channel = p.rgb.channel;
  return {saturate(load(in)), saturate(load(in + channel)), saturate(load(in + 2 * channel))};
}

// Writes the code of component k at (x, y) of its plane.
template <class Code>
__device__ __forceinline__ void encode(const Params &p, int k, Rgb rgb, int x, int y) {
  const float *row = p.matrix + 3 * k;
  const float value = row[0] * rgb.r + row[1] * rgb.g + row[2] * rgb.b;
  const float threshold = p.dither ? bayer(x, y) : 0.5f;
  const float code = fminf(value * p.scale[k] + p.offset[k] + threshold, p.code_max);
  *sample<Code>(p, k, x, y) = (Code)((u32)code << p.shift);  // code >= 0, so that cutting it is floor
}

// One thread per chroma sample, which does the 1, 2 or 4 luma samples at its place as well.
template <class Code, class Float>
__device__ __forceinline__ void post(const Params &p) {
  const int cx = blockIdx.x * blockDim.x + threadIdx.x;
  const int cy = blockIdx.y * blockDim.y + threadIdx.y;
  if (cx >= p.x.chroma || cy >= p.y.chroma) return;

  const int left = cx << p.x.subsampling, right = min(left + (1 << p.x.subsampling), p.x.luma);
  const int top = cy << p.y.subsampling, bottom = min(top + (1 << p.y.subsampling), p.y.luma);
#pragma unroll 1  // unrolled, these two loops take up to 30 registers more, and ptxas begins to spill
  for (int y = top; y < bottom; ++y) {
#pragma unroll 1
    for (int x = left; x < right; ++x) encode<Code>(p, 0, rgb_at<Float>(p, x, y), x, y);
  }
  if (p.components == 1) return;

  Rgb mean = {0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float weight = p.y.taps[j] * p.x.taps[i];
      if (weight == 0.0f) continue;  // the same for all threads
      const Rgb rgb = rgb_at<Float>(p, left - 1 + i, top - 1 + j);
      mean.r += weight * rgb.r;
      mean.g += weight * rgb.g;
      mean.b += weight * rgb.b;
    }
  }
  encode<Code>(p, 1, mean, cx, cy);
  encode<Code>(p, 2, mean, cx, cy);
}

#define KERNELS(name, Code, Float)                                                                         \
  extern "C" __global__ void __launch_bounds__(256) pre_##name(const Params p) { pre<Code, Float>(p); }   \
  extern "C" __global__ void __launch_bounds__(256) post_##name(const Params p) { post<Code, Float>(p); }

KERNELS(u8_f32, u8, float)
KERNELS(u8_f16, u8, f16)
KERNELS(u8_bf16, u8, bf16)
KERNELS(u16_f32, u16, float)
KERNELS(u16_f16, u16, f16)
KERNELS(u16_bf16, u16, bf16)
