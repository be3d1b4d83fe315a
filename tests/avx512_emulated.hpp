// The AVX-512 kernels on processors without it: the instructions that src/isa.hpp uses, lane by lane, as Intel's
// Intrinsics Guide describes them. To be included before everything else.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace emulated {

template <class T>
struct alignas(64) Vector {
  T lane[64 / sizeof(T)];
};
using Ints = Vector<std::int32_t>;
using Floats = Vector<float>;

template <class To, class From>
To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "the same register");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// f of each lane of vectors of T.
template <class T, class Register, class F, class... Registers>
Register each(F f, const Register& first, const Registers&... others) {
  const auto a = bits<Vector<T>>(first);
  return [&](const auto&... b) {
    Vector<T> out;
    for (std::size_t i = 0; i < 64 / sizeof(T); i++) out.lane[i] = static_cast<T>(f(a.lane[i], b.lane[i]...));
    return bits<Register>(out);
  }(bits<Vector<T>>(others)...);
}

template <class T>
T clamped(int v, int low, int high) {
  return static_cast<T>(std::min(std::max(v, low), high));
}
inline std::int16_t signed16(int v) { return clamped<std::int16_t>(v, -32768, 32767); }
// To the nearest, halves to even; what does not fit becomes the "integer indefinite".
inline std::int32_t converted(float v) {
  return v >= -2147483648.f && v < 2147483648.f ? static_cast<std::int32_t>(v) : INT32_MIN;
}

using s16 = std::int16_t;
using u16 = std::uint16_t;
using s32 = std::int32_t;
using u32 = std::uint32_t;

inline Ints loadu_si512(const void* p) { Ints v; std::memcpy(&v, p, 64); return v; }
inline void storeu_si512(void* p, Ints v) { std::memcpy(p, &v, 64); }
inline Floats loadu_ps(const float* p) { Floats v; std::memcpy(&v, p, 64); return v; }
inline void storeu_ps(float* p, Floats v) { std::memcpy(p, &v, 64); }
inline Ints set1_epi32(s32 x) { Ints v; for (auto& l : v.lane) l = x; return v; }
inline Ints setzero_si512() { return set1_epi32(0); }
inline Ints set1_epi16(s16 x) { Vector<s16> v; for (auto& l : v.lane) l = x; return bits<Ints>(v); }
inline Floats set1_ps(float x) { Floats v; for (auto& l : v.lane) l = x; return v; }
template <class... X>
Ints setr_epi32(X... x) { return {{static_cast<s32>(x)...}}; }
inline Ints maskz_set1_epi32(__mmask16 m, s32 x) { Ints v; for (int i = 0; i < 16; i++) v.lane[i] = m >> i & 1 ? x : 0; return v; }

inline Ints and_si512(Ints a, Ints b) { return each<s32>([](s32 x, s32 y) { return x & y; }, a, b); }
inline Ints or_si512(Ints a, Ints b) { return each<s32>([](s32 x, s32 y) { return x | y; }, a, b); }
inline Ints add_epi32(Ints a, Ints b) { return each<u32>([](u32 x, u32 y) { return x + y; }, a, b); }
inline Ints slli_epi32(Ints a, unsigned n) { return each<u32>([n](u32 x) { return x << n; }, a); }
inline Ints srli_epi32(Ints a, unsigned n) { return each<u32>([n](u32 x) { return x >> n; }, a); }
inline Ints adds_epi16(Ints a, Ints b) { return each<s16>([](s16 x, s16 y) { return signed16(x + y); }, a, b); }
inline Ints subs_epi16(Ints a, Ints b) { return each<s16>([](s16 x, s16 y) { return signed16(x - y); }, a, b); }
inline Ints mulhrs_epi16(Ints a, Ints b) { return each<s16>([](s16 x, s16 y) { return ((x * y >> 14) + 1) >> 1; }, a, b); }
inline Ints abs_epi16(Ints a) { return each<s16>([](s16 x) { return x < 0 ? -x : x; }, a); }
inline Ints max_epu16(Ints a, Ints b) { return each<u16>([](u16 x, u16 y) { return std::max(x, y); }, a, b); }
inline u32 cmpgt_epu16_mask(Ints a, Ints b) {
  const auto x = bits<Vector<u16>>(a), y = bits<Vector<u16>>(b);
  u32 mask = 0;
  for (int i = 0; i < 32; i++) mask |= static_cast<u32>(x.lane[i] > y.lane[i]) << i;
  return mask;
}
inline Ints dpwssd(Ints sum, Ints a, Ints b) {
  const auto x = bits<Vector<s16>>(a), y = bits<Vector<s16>>(b);
  for (int i = 0; i < 16; i++) {
    const std::int64_t all = std::int64_t{sum.lane[i]} + x.lane[2 * i] * y.lane[2 * i] + x.lane[2 * i + 1] * y.lane[2 * i + 1];
    sum.lane[i] = static_cast<s32>(all);
  }
  return sum;
}
// (high:low) shifted right by so many dwords.
inline Ints alignr_epi32(Ints high, Ints low, int by) {
  Ints v;
  for (int i = 0; i < 16; i++) v.lane[i] = i + by < 16 ? low.lane[i + by] : high.lane[i + by - 16];
  return v;
}
inline Ints permutexvar_epi32(Ints index, Ints a) { Ints v; for (int i = 0; i < 16; i++) v.lane[i] = a.lane[index.lane[i] & 15]; return v; }
inline Floats permutexvar_ps(Ints index, Floats a) { Floats v; for (int i = 0; i < 16; i++) v.lane[i] = a.lane[index.lane[i] & 15]; return v; }
// Within each quarter: four of a, then four of b, saturated.
inline Ints packs_epi32(Ints a, Ints b) {
  Vector<s16> v;
  for (int quarter = 0; quarter < 4; quarter++)
    for (int i = 0; i < 4; i++) {
      v.lane[8 * quarter + i] = signed16(a.lane[4 * quarter + i]);
      v.lane[8 * quarter + 4 + i] = signed16(b.lane[4 * quarter + i]);
    }
  return bits<Ints>(v);
}
inline __m256i castsi512_si256(Ints a) { __m256i v; std::memcpy(&v, &a, 32); return v; }
inline __m256i extracti64x4_epi64(Ints a, int half) { __m256i v; std::memcpy(&v, a.lane + 8 * half, 32); return v; }
inline __m256i cvtepi32_epi16(Ints a) { u16 v[16]; for (int i = 0; i < 16; i++) v[i] = static_cast<u16>(a.lane[i]); __m256i r; std::memcpy(&r, v, 32); return r; }
inline Ints cvtepu16_epi32(__m256i a) { u16 v[16]; std::memcpy(v, &a, 32); Ints r; for (int i = 0; i < 16; i++) r.lane[i] = v[i]; return r; }
inline Floats cvtph_ps(__m256i a) {
  Floats v;
  _mm256_storeu_ps(v.lane, _mm256_cvtph_ps(_mm256_castsi256_si128(a)));
  _mm256_storeu_ps(v.lane + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
  return v;
}
inline __m256i cvtps_ph(Floats a, int) {
  return _mm256_set_m128i(_mm256_cvtps_ph(_mm256_loadu_ps(a.lane + 8), 0), _mm256_cvtps_ph(_mm256_loadu_ps(a.lane), 0));
}
inline Ints cvtps_epi32(Floats a) { Ints v; for (int i = 0; i < 16; i++) v.lane[i] = converted(std::nearbyint(a.lane[i])); return v; }
inline Ints cvttps_epi32(Floats a) { Ints v; for (int i = 0; i < 16; i++) v.lane[i] = converted(std::trunc(a.lane[i])); return v; }
inline Floats cvtepi32_ps(Ints a) { Floats v; for (int i = 0; i < 16; i++) v.lane[i] = static_cast<float>(a.lane[i]); return v; }
inline Floats castsi512_ps(Ints a) { return bits<Floats>(a); }
inline Floats add_ps(Floats a, Floats b) { return each<float>([](float x, float y) { return x + y; }, a, b); }
inline Floats sub_ps(Floats a, Floats b) { return each<float>([](float x, float y) { return x - y; }, a, b); }
inline Floats mul_ps(Floats a, Floats b) { return each<float>([](float x, float y) { return x * y; }, a, b); }
inline Floats div_ps(Floats a, Floats b) { return each<float>([](float x, float y) { return x / y; }, a, b); }
inline Floats max_ps(Floats a, Floats b) { return each<float>([](float x, float y) { return x > y ? x : y; }, a, b); }
inline Floats min_ps(Floats a, Floats b) { return each<float>([](float x, float y) { return x < y ? x : y; }, a, b); }
inline Floats fmadd_ps(Floats a, Floats b, Floats c) { return each<float>([](float x, float y, float z) { return std::fma(x, y, z); }, a, b, c); }
inline Floats roundscale_ps(Floats a, int) { return each<float>([](float x) { return std::nearbyint(x); }, a); }

}  // namespace emulated

#define __AVX512VNNI__ 1
#define __m512i emulated::Ints
#define __m512 emulated::Floats
#define asm(...) sum = emulated::dpwssd(sum, a, b)  // the one line of assembler
#define _mm512_abs_epi16 emulated::abs_epi16
#define _mm512_add_epi32 emulated::add_epi32
#define _mm512_add_ps emulated::add_ps
#define _mm512_adds_epi16 emulated::adds_epi16
#define _mm512_alignr_epi32 emulated::alignr_epi32
#define _mm512_and_si512 emulated::and_si512
#define _mm512_castsi512_ps emulated::castsi512_ps
#define _mm512_castsi512_si256 emulated::castsi512_si256
#define _mm512_cmpgt_epu16_mask emulated::cmpgt_epu16_mask
#define _mm512_cvtepi32_epi16 emulated::cvtepi32_epi16
#define _mm512_cvtepi32_ps emulated::cvtepi32_ps
#define _mm512_cvtepu16_epi32 emulated::cvtepu16_epi32
#define _mm512_cvtph_ps emulated::cvtph_ps
#define _mm512_cvtps_epi32 emulated::cvtps_epi32
#define _mm512_cvtps_ph emulated::cvtps_ph
#define _mm512_cvttps_epi32 emulated::cvttps_epi32
#define _mm512_div_ps emulated::div_ps
#define _mm512_extracti64x4_epi64 emulated::extracti64x4_epi64
#define _mm512_fmadd_ps emulated::fmadd_ps
#define _mm512_loadu_ps emulated::loadu_ps
#define _mm512_loadu_si512 emulated::loadu_si512
#define _mm512_maskz_set1_epi32 emulated::maskz_set1_epi32
#define _mm512_max_epu16 emulated::max_epu16
#define _mm512_max_ps emulated::max_ps
#define _mm512_min_ps emulated::min_ps
#define _mm512_mul_ps emulated::mul_ps
#define _mm512_mulhrs_epi16 emulated::mulhrs_epi16
#define _mm512_or_si512 emulated::or_si512
#define _mm512_packs_epi32 emulated::packs_epi32
#define _mm512_permutexvar_epi32 emulated::permutexvar_epi32
#define _mm512_permutexvar_ps emulated::permutexvar_ps
#define _mm512_roundscale_ps emulated::roundscale_ps
#define _mm512_set1_epi16 emulated::set1_epi16
#define _mm512_set1_epi32 emulated::set1_epi32
#define _mm512_set1_ps emulated::set1_ps
#undef _mm512_setr_epi32
#define _mm512_setr_epi32 emulated::setr_epi32
#define _mm512_setzero_si512 emulated::setzero_si512
#define _mm512_slli_epi32 emulated::slli_epi32
#define _mm512_srli_epi32 emulated::srli_epi32
#define _mm512_storeu_ps emulated::storeu_ps
#define _mm512_storeu_si512 emulated::storeu_si512
#define _mm512_sub_ps emulated::sub_ps
#define _mm512_subs_epi16 emulated::subs_epi16
