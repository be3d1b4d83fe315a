// What the kernels need of a processor, one struct an instruction set. A kernel is a template over these; nothing else
// knows an instruction by name.
//
// Two orders of a vector's lanes: "tile order" as in memory, and "packed order", which packing two vectors of int32 into
// one of int16 leaves, and in which all arithmetic on sums is done. `kTileOf` tells the tile of a packed lane.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace rfdn {
namespace {  // every object has its own copy: none may run instructions that another one's processor has

// How int16 values are made of half floats: factors of the lower and the upper half of a vector's tiles, each twice.
template <class Float>
struct Factors {
  Float low, high;
};

struct Avx2 {
  using Int = __m256i;
  using Float = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kWide = 2;                 // vectors multiplied at a time
  static constexpr int kGroups[] = {5, 6, 4};     // outputs multiplied at a time, the best first
  static constexpr int kTileOf[] = {0, 1, 4, 5, 2, 3, 6, 7};

  static Int load(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const Int*>(p)); }
  static void store(std::int32_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<Int*>(p), v); }
  static Int zero() { return _mm256_setzero_si256(); }
  static Int broadcast(std::int32_t v) { return _mm256_set1_epi32(v); }
  // Lanes 0..count-1 all ones.
  static Int first(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Int both(Int a, Int b) { return _mm256_and_si256(a, b); }

  // sum + the two int16 products of each lane.
  static Int multiply_add(Int sum, Int a, Int b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }

  // int16, saturating.
  static Int add(Int a, Int b) { return _mm256_adds_epi16(a, b); }
  static Int subtract(Int a, Int b) { return _mm256_subs_epi16(a, b); }
  static Int half(Int v) { return _mm256_mulhrs_epi16(v, _mm256_set1_epi16(1 << 14)); }
  static Int quarter(Int v) { return _mm256_mulhrs_epi16(v, _mm256_set1_epi16(1 << 13)); }

  // The vector one tile to the left: its first lane is the last one of the block on the left.
  static Int from_left(Int left, Int v) {
    return _mm256_alignr_epi8(v, _mm256_permute2x128_si256(left, v, 0x21), 12);
  }
  static Int from_right(Int v, Int right) {
    return _mm256_alignr_epi8(_mm256_permute2x128_si256(v, right, 0x21), v, 4);
  }

  // The larger magnitudes, as bits of half floats: without the sign they compare like integers.
  static Int larger(Int best, Int halves) {
    return _mm256_max_epu16(best, _mm256_and_si256(halves, _mm256_set1_epi16(0x7fff)));
  }
  static Int larger_magnitude(Int a, Int b) { return _mm256_max_epu16(a, b); }
  static Int larger_integer(Int best, Int v) { return _mm256_max_epu16(best, _mm256_abs_epi16(v)); }

  // For each lane: the factor of 1 at most that brings the larger of two int16 magnitudes down to `limit`, in
  // 32768ths for `scaled`, twice; and as a float.
  static Int shrink(Int magnitudes, float limit, Float& factor) {
    const Int either = _mm256_and_si256(_mm256_max_epu16(magnitudes, _mm256_srli_epi32(magnitudes, 16)),
                                        _mm256_set1_epi32(0xffff));
    const Float most = _mm256_max_ps(_mm256_set1_ps(limit), _mm256_cvtepi32_ps(either));
    const Int parts = _mm256_cvttps_epi32(_mm256_div_ps(_mm256_set1_ps(32767 * limit), most));
    factor = _mm256_mul_ps(_mm256_cvtepi32_ps(parts), _mm256_set1_ps(0x1p-15f));
    return _mm256_or_si256(parts, _mm256_slli_epi32(parts, 16));
  }
  static Int scaled(Int v, Int factor) { return _mm256_mulhrs_epi16(v, factor); }
  // Whether one of the magnitudes, up to 32767, is larger.
  static bool any_beyond(Int magnitudes, float limit) {
    const Int beyond = _mm256_cmpgt_epi16(magnitudes, _mm256_set1_epi16(static_cast<short>(limit)));
    return !_mm256_testz_si256(beyond, beyond);
  }

  // For each tile: the factors that bring its largest magnitude (of both channels) to `limit`, and their inverse in
  // packed order. Infinite and NaN magnitudes give NaN.
  static Float factors(Int magnitudes, float limit, Factors<Float>& factors) {
    const Int either = _mm256_and_si256(_mm256_max_epu16(magnitudes, _mm256_srli_epi32(magnitudes, 16)),
                                        _mm256_set1_epi32(0xffff));
    const Int halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(either, either), 0x08);
    const Float tiny = _mm256_set1_ps(0x1p-24f);  // the smallest half float
    // max returns its second operand where one is NaN.
    const Float most = _mm256_max_ps(tiny, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
    const Float factor = _mm256_div_ps(_mm256_set1_ps(limit), most);
    factors.low = _mm256_permutevar8x32_ps(factor, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    factors.high = _mm256_permutevar8x32_ps(factor, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
    return _mm256_permutevar8x32_ps(_mm256_mul_ps(most, _mm256_set1_ps(1 / limit)),
                                    _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7));
  }
  // Half floats in tile order to int16 in packed order.
  static Int to_integers(Int halves, const Factors<Float>& factors) {
    const Float low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
    const Float high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
    return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, factors.low)),
                              _mm256_cvtps_epi32(_mm256_mul_ps(high, factors.high)));
  }
  // Two channels in packed order to pairs of half floats in tile order, and back.
  static Int to_halves(Float even, Float odd) {
    const __m128i e = _mm256_cvtps_ph(even, _MM_FROUND_TO_NEAREST_INT), o = _mm256_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT);
    const __m128i a = _mm_unpacklo_epi16(e, o), b = _mm_unpackhi_epi16(e, o);
    return _mm256_set_m128i(_mm_unpackhi_epi64(a, b), _mm_unpacklo_epi64(a, b));
  }
  static void from_halves(Int halves, Float& even, Float& odd) {
    const Int apart = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,  //
                                       0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const Int packed = _mm256_permute4x64_epi64(halves, 0xd8);
    const Int split = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(packed, apart), 0xd8);
    even = _mm256_cvtph_ps(_mm256_castsi256_si128(split));
    odd = _mm256_cvtph_ps(_mm256_extracti128_si256(split, 1));
  }

  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static Float set(float v) { return _mm256_set1_ps(v); }
  static Float to_float(Int v) { return _mm256_cvtepi32_ps(v); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float divide(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }  // a * b + c
  static Float largest(Float a, Float b) { return _mm256_max_ps(a, b); }                     // b where one is NaN
  static Float smallest(Float a, Float b) { return _mm256_min_ps(a, b); }
  static Float rounded(Float v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in -126..127.
  static Float power_of_two(Float n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
};

// AVX2 with one instruction for the two products and the sum.
struct AvxVnni : Avx2 {
#ifdef __AVXVNNI__
  using Avx2::multiply_add;
  static Int multiply_add(Int sum, Int a, Int b) {
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));  // gcc 12 spills with the intrinsic
    return sum;
  }
#endif
};

#ifdef __AVX512VNNI__
struct Avx512Vnni {
  using Int = __m512i;
  using Float = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kWide = 1;
  static constexpr int kGroups[] = {25, 24, 26, 16, 8};
  static constexpr int kTileOf[] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};

  static Int load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(std::int32_t* p, Int v) { _mm512_storeu_si512(p, v); }
  static Int zero() { return _mm512_setzero_si512(); }
  static Int broadcast(std::int32_t v) { return _mm512_set1_epi32(v); }
  static Int first(int count) {
    return _mm512_maskz_set1_epi32(static_cast<__mmask16>(count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1), -1);
  }
  static Int both(Int a, Int b) { return _mm512_and_si512(a, b); }

  static Int multiply_add(Int sum, Int a, Int b) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));  // gcc 12 spills with the intrinsic
    return sum;
  }

  static Int add(Int a, Int b) { return _mm512_adds_epi16(a, b); }
  static Int subtract(Int a, Int b) { return _mm512_subs_epi16(a, b); }
  static Int half(Int v) { return _mm512_mulhrs_epi16(v, _mm512_set1_epi16(1 << 14)); }
  static Int quarter(Int v) { return _mm512_mulhrs_epi16(v, _mm512_set1_epi16(1 << 13)); }

  static Int from_left(Int left, Int v) { return _mm512_alignr_epi32(v, left, 15); }
  static Int from_right(Int v, Int right) { return _mm512_alignr_epi32(right, v, 1); }

  static Int larger(Int best, Int halves) {
    return _mm512_max_epu16(best, _mm512_and_si512(halves, _mm512_set1_epi16(0x7fff)));
  }
  static Int larger_magnitude(Int a, Int b) { return _mm512_max_epu16(a, b); }
  static Int larger_integer(Int best, Int v) { return _mm512_max_epu16(best, _mm512_abs_epi16(v)); }

  static Int shrink(Int magnitudes, float limit, Float& factor) {
    const Int either = _mm512_and_si512(_mm512_max_epu16(magnitudes, _mm512_srli_epi32(magnitudes, 16)),
                                        _mm512_set1_epi32(0xffff));
    const Float most = _mm512_max_ps(_mm512_set1_ps(limit), _mm512_cvtepi32_ps(either));
    const Int parts = _mm512_cvttps_epi32(_mm512_div_ps(_mm512_set1_ps(32767 * limit), most));
    factor = _mm512_mul_ps(_mm512_cvtepi32_ps(parts), _mm512_set1_ps(0x1p-15f));
    return _mm512_or_si512(parts, _mm512_slli_epi32(parts, 16));
  }
  static Int scaled(Int v, Int factor) { return _mm512_mulhrs_epi16(v, factor); }
  static bool any_beyond(Int magnitudes, float limit) {
    return _mm512_cmpgt_epu16_mask(magnitudes, _mm512_set1_epi16(static_cast<short>(limit)));
  }

  static Float factors(Int magnitudes, float limit, Factors<Float>& factors) {
    const Int either = _mm512_and_si512(_mm512_max_epu16(magnitudes, _mm512_srli_epi32(magnitudes, 16)),
                                        _mm512_set1_epi32(0xffff));
    const Float tiny = _mm512_set1_ps(0x1p-24f);
    const Float most = _mm512_max_ps(tiny, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(either)));
    const Float factor = _mm512_div_ps(_mm512_set1_ps(limit), most);
    factors.low = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), factor);
    factors.high =
        _mm512_permutexvar_ps(_mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), factor);
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15),
                                 _mm512_mul_ps(most, _mm512_set1_ps(1 / limit)));
  }
  static Int to_integers(Int halves, const Factors<Float>& factors) {
    const Float low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
    const Float high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
    return _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(low, factors.low)),
                              _mm512_cvtps_epi32(_mm512_mul_ps(high, factors.high)));
  }
  static Int to_halves(Float even, Float odd) {
    const __m256i e = _mm512_cvtps_ph(even, _MM_FROUND_TO_NEAREST_INT), o = _mm512_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT);
    const Int pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(e), _mm512_slli_epi32(_mm512_cvtepu16_epi32(o), 16));
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15), pairs);
  }
  static void from_halves(Int halves, Float& even, Float& odd) {
    const Int packed = _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15), halves);
    even = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(packed));
    odd = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(packed, 16)));
  }

  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static Float set(float v) { return _mm512_set1_ps(v); }
  static Float to_float(Int v) { return _mm512_cvtepi32_ps(v); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float divide(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float largest(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float smallest(Float a, Float b) { return _mm512_min_ps(a, b); }
  static Float rounded(Float v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT); }
  static Float power_of_two(Float n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
};
#endif

}  // namespace
}  // namespace rfdn
