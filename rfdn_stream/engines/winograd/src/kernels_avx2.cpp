#include "kernels.hpp"

#ifdef __AVX2__
#include "instance.hpp"

const rfdn::Kernels* rfdn::kernels_avx2() {
  static constexpr Kernels kernels = table<Avx2>("AVX2");
  return &kernels;
}
#else  // a compiler, or a processor, that does not know it
const rfdn::Kernels* rfdn::kernels_avx2() { return nullptr; }
#endif
