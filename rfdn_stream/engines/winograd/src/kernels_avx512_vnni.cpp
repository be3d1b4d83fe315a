#include "kernels.hpp"

#ifdef __AVX512VNNI__
#include "instance.hpp"

const rfdn::Kernels* rfdn::kernels_avx512_vnni() {
  static constexpr Kernels kernels = table<Avx512Vnni>("AVX512-VNNI");
  return &kernels;
}
#else  // a compiler, or a processor, that does not know it
const rfdn::Kernels* rfdn::kernels_avx512_vnni() { return nullptr; }
#endif
