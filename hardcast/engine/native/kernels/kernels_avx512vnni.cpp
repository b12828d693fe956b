// AVX-512 VNNI: one zmm is a whole tile, 16 rows (Ice Lake, Sapphire Rapids, Zen 4, Zen 5).

#include <immintrin.h>

#include "kernels/dot_kernel.h"
#include "kernels/paths.h"

namespace hardcast {

namespace {

struct ZmmVector {
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 16;  // of 32 registers
  static constexpr bool kInRegisters = true;
  static constexpr bool kSignedCodes = false;
  using Int = __m512i;
  using Vector = __m512i;
  using Digits = __m512i;

  static Int zero() { return _mm512_setzero_si512(); }
  static Int broadcast(int32_t value) { return _mm512_set1_epi32(value); }
  static Vector load(const uint8_t* in) {
    Vector c = _mm512_loadu_si512(in);
#if !defined(HARDCAST_EMULATED)  // an emulated vector is no register
    __asm__("" : "+v"(c));  // GCC 12 would store it to the stack and load it once for each nibble
#endif
    return c;
  }
  static Vector bytes(const uint8_t* in) { return load(in); }
  static void store(uint8_t* out, Vector c) { _mm512_storeu_si512(out, c); }
  static Vector masked(Vector v, int bits) {
    return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(bits)));
  }
  template <int kCount>
  static Vector shifted(Vector v) {
    return _mm512_srli_epi16(v, kCount);
  }
  static Vector either(Vector a, Vector b) { return _mm512_or_si512(a, b); }
  static Vector table(const uint8_t* in) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(in)));
  }
  static Vector lookup(Vector table, Vector v) { return _mm512_shuffle_epi8(table, v); }
  static Digits digits(const int8_t* in) {
    int32_t four;
    std::memcpy(&four, in, sizeof four);
    return _mm512_set1_epi32(four);
  }
  static Int dot(Int sum, Vector c, Digits x) { return _mm512_dpbusd_epi32(sum, c, x); }
  static Int scales(const uint8_t* in) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
  }
  static Int offset(const int16_t* pairs, int group) {
    const __m512i both = _mm512_loadu_si512(pairs);
    return _mm512_srai_epi32(group == 0 ? _mm512_slli_epi32(both, 16) : both, 16);
  }
  static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static Int multiply(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
  template <int kCount>
  static Int shifted_left(Int a) {
    return _mm512_slli_epi32(a, kCount);
  }
  static Int pair_dot(const int16_t* pairs, const int16_t* sums) {
    int32_t pair;
    std::memcpy(&pair, sums, sizeof pair);
    return _mm512_madd_epi16(_mm512_loadu_si512(pairs), _mm512_set1_epi32(pair));
  }
  static void shift_add(int64_t* out, Int a, int shift) {
    const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(a));
    const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a, 1));
    add_shifted(out, low, high, shift);
  }
  static void multiply_shift_add(int64_t* out, Int a, Int b, int shift) {
    const __m512i low = _mm512_mul_epi32(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(a)),
                                         _mm512_cvtepi32_epi64(_mm512_castsi512_si256(b)));
    const __m512i high = _mm512_mul_epi32(_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a, 1)),
                                          _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(b, 1)));
    add_shifted(out, low, high, shift);
  }

 private:
  static void add_shifted(int64_t* out, __m512i low, __m512i high, int shift) {
    const __m128i count = _mm_cvtsi32_si128(shift);
    _mm512_storeu_si512(out, _mm512_add_epi64(_mm512_loadu_si512(out),
                                              _mm512_sll_epi64(low, count)));
    _mm512_storeu_si512(out + 8, _mm512_add_epi64(_mm512_loadu_si512(out + 8),
                                                  _mm512_sll_epi64(high, count)));
  }
};

}  // namespace

const Path kAvx512Vnni{"avx512vnni", dot_multiply<ZmmVector>, true};

}  // namespace hardcast
