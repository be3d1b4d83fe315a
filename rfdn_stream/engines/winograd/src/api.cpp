#include "api.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <cstdio>
#include <exception>
#include <new>

#include "network.hpp"

struct rfdn_network : rfdn::Network {
  using Network::Network;
};

namespace {

const rfdn::Kernels* kernels_of(std::int32_t isa) {
  switch (isa) {
    case RFDN_AVX2: return rfdn::kernels_avx2();
    case RFDN_AVX_VNNI: return rfdn::kernels_avx_vnni();
    case RFDN_AVX512_VNNI: return rfdn::kernels_avx512_vnni();
    default: return nullptr;
  }
}

bool processor_has(std::int32_t isa) {
#if defined(__x86_64__)
  // The names of these two are not known to all compilers.
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
  const bool avx_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
  switch (isa) {
    case RFDN_AVX2: return avx2;
    case RFDN_AVX_VNNI: return avx2 && avx_vnni;
    case RFDN_AVX512_VNNI:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    default: return false;
  }
#else
  return isa < 0;  // never: there is no code for this processor
#endif
}

// What `work` returns; where it throws, `failed`, and why in `error`.
template <class Work, class Result>
Result guarded(const Work& work, Result failed, char* error, std::size_t size) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    std::snprintf(error, size, "out of memory");
  } catch (const std::exception& failure) {
    std::snprintf(error, size, "%s", failure.what());
  }
  return failed;
}

}  // namespace

extern "C" {

std::int32_t rfdn_abi(void) { return RFDN_ABI; }

const char* rfdn_isa_name(std::int32_t isa) {
  const auto* kernels = kernels_of(isa);
  return kernels ? kernels->name : nullptr;
}

std::int32_t rfdn_isa_works(std::int32_t isa) { return kernels_of(isa) && processor_has(isa); }

rfdn_network* rfdn_create(const rfdn_options* options, const rfdn_tensor* tensors, std::int32_t count,
                          std::int32_t threads, std::int32_t isa, char* error, std::size_t error_size) {
  return guarded([&] { return new rfdn_network(*options, tensors, count, threads, *kernels_of(isa)); },
                 static_cast<rfdn_network*>(nullptr), error, error_size);
}

void rfdn_destroy(rfdn_network* network) {
  if (network) network->wait();
  delete network;
}

std::size_t rfdn_bytes(const rfdn_network* network, std::int32_t height, std::int32_t width) {
  return network->bytes(height, width);
}

std::int32_t rfdn_run(rfdn_network* network, const float* picture, std::ptrdiff_t plane_stride,
                      std::ptrdiff_t row_stride, std::int32_t height, std::int32_t width, float* result) {
  char error[64];  // the status says it all
  const auto work = [&] {
    const int scale = network->scale();
    const rfdn::Planes from{const_cast<float*>(picture), plane_stride, row_stride, height, width};
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(scale) * width;
    const rfdn::Planes to{result, row * scale * height, row, scale * height, scale * width};
    return network->run(from, to) ? 0 : 1;
  };
  return guarded(work, 1, error, sizeof error);
}

std::int32_t rfdn_layer(const rfdn_tensor* tensor, float slope, std::int32_t isa, const float* source,
                        std::int32_t height, std::int32_t width, float* target, char* error, std::size_t error_size) {
  const auto work = [&] {
    rfdn::run_layer(*tensor, slope, *kernels_of(isa), source, height, width, target);
    return 0;
  };
  return guarded(work, 1, error, error_size);
}

double rfdn_operations(std::int32_t isa, std::int32_t integers, std::int32_t rounds) {
  return kernels_of(isa)->operations(integers != 0, rounds);
}

}  // extern "C"
