/* What Python calls. No function throws; one thread at a time works on a network, others wait for it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define RFDN_EXPORT __declspec(dllexport)
#else
#define RFDN_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RFDN_ABI 2 /* raised with every change of this file */

/* Which instructions: the best that this build has and this processor knows. */
enum rfdn_isa { RFDN_AVX2 = 0, RFDN_AVX_VNNI = 1, RFDN_AVX512_VNNI = 2, RFDN_ISAS = 3 };

typedef struct {
  int32_t channels, distilled, blocks, scale;
  int32_t inner;    /* ESA: channels of its mask; CCA: of its squeezed weights */
  int32_t esa;      /* 1: spatial attention; 0: channel attention */
  int32_t residual; /* blocks add their input */
  int32_t distils;  /* blocks keep a distilled part of each step; 0: a plain chain */
} rfdn_options;

typedef struct {
  const char* name;
  const float* weight; /* [outputs][inputs][size][size] */
  const float* bias;   /* [outputs] */
  int32_t outputs, inputs, size;
} rfdn_tensor;

typedef struct rfdn_network rfdn_network;

RFDN_EXPORT int32_t rfdn_abi(void);
RFDN_EXPORT const char* rfdn_isa_name(int32_t isa); /* NULL: not in this build */
RFDN_EXPORT int32_t rfdn_isa_works(int32_t isa);    /* in this build and on this processor */

/* Convolutions in the order in which a picture meets them. NULL: `error` says why. */
RFDN_EXPORT rfdn_network* rfdn_create(const rfdn_options*, const rfdn_tensor*, int32_t count, int32_t threads,
                                      int32_t isa, char* error, size_t error_size);
RFDN_EXPORT void rfdn_destroy(rfdn_network*); /* after the picture in work */
RFDN_EXPORT size_t rfdn_bytes(const rfdn_network*, int32_t height, int32_t width);

/* [3][height][width] to [3][scale * height][scale * width], float32; strides in floats, columns side by side.
   0: done; 1: no memory. */
RFDN_EXPORT int32_t rfdn_run(rfdn_network*, const float* picture, ptrdiff_t plane_stride, ptrdiff_t row_stride,
                             int32_t height, int32_t width, float* result);

/* One layer by itself, [inputs][height][width] to [outputs][height][width], activation max(x, slope * x), on one
   thread. 0: done; 1: no memory, or as for rfdn_create. */
RFDN_EXPORT int32_t rfdn_layer(const rfdn_tensor*, float slope, int32_t isa, const float* source, int32_t height,
                               int32_t width, float* target, char* error, size_t error_size);

/* Arithmetic alone, on this thread: sums of int16 products, or of float32 ones. Returns how many multiplications and
   additions it did. */
RFDN_EXPORT double rfdn_operations(int32_t isa, int32_t integers, int32_t rounds);

#ifdef __cplusplus
}
#endif
