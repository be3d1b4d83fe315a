#include "kernels.hpp"

#ifdef __AVXVNNI__
#include "instance.hpp"

const rfdn::Kernels* rfdn::kernels_avx_vnni() {
  static constexpr Kernels kernels = table<AvxVnni>("AVX-VNNI");
  return &kernels;
}
#else  // a compiler, or a processor, that does not know it
const rfdn::Kernels* rfdn::kernels_avx_vnni() { return nullptr; }
#endif
