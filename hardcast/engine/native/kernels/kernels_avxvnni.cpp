// AVX-VNNI: the dot product in ymm, for processors without AVX-512 (Alder Lake and later).

#include <immintrin.h>

#include "kernels/dot_kernel.h"
#include "kernels/paths.h"

namespace hardcast {

namespace {

struct YmmVector {
  static constexpr int kLanes = 8;
  static constexpr int kAccumulators = 8;  // of 16 registers
  static constexpr bool kInRegisters = true;
  static constexpr bool kSignedCodes = false;
  using Int = __m256i;
  using Vector = __m256i;
  using Digits = __m256i;

  static __m256i load(const void* in) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(in));
  }
  static Int zero() { return _mm256_setzero_si256(); }
  static Int broadcast(int32_t value) { return _mm256_set1_epi32(value); }
  static Vector bytes(const uint8_t* in) { return load(in); }
  static void store(uint8_t* out, Vector c) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), c);
  }
  static Vector masked(Vector v, int bits) {
    return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(bits)));
  }
  template <int kCount>
  static Vector shifted(Vector v) {
    return _mm256_srli_epi16(v, kCount);
  }
  static Vector either(Vector a, Vector b) { return _mm256_or_si256(a, b); }
  static Vector table(const uint8_t* in) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(in)));
  }
  static Vector lookup(Vector table, Vector v) { return _mm256_shuffle_epi8(table, v); }
  static Digits digits(const int8_t* in) {
    int32_t four;
    std::memcpy(&four, in, sizeof four);
    return _mm256_set1_epi32(four);
  }
  static Int dot(Int sum, Vector c, Digits x) { return _mm256_dpbusd_avx_epi32(sum, c, x); }
  static Int scales(const uint8_t* in) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in)));
  }
  static Int offset(const int16_t* pairs, int group) {
    const __m256i both = load(pairs);
    return _mm256_srai_epi32(group == 0 ? _mm256_slli_epi32(both, 16) : both, 16);
  }
  static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static Int multiply(Int a, Int b) { return _mm256_mullo_epi32(a, b); }
  template <int kCount>
  static Int shifted_left(Int a) {
    return _mm256_slli_epi32(a, kCount);
  }
  static Int pair_dot(const int16_t* pairs, const int16_t* sums) {
    int32_t pair;
    std::memcpy(&pair, sums, sizeof pair);
    return _mm256_madd_epi16(load(pairs), _mm256_set1_epi32(pair));
  }
  static void shift_add(int64_t* out, Int a, int shift) {
    add_shifted(out, low_half(a), high_half(a), shift);
  }
  static void multiply_shift_add(int64_t* out, Int a, Int b, int shift) {
    add_shifted(out, _mm256_mul_epi32(low_half(a), low_half(b)),
                _mm256_mul_epi32(high_half(a), high_half(b)), shift);
  }

 private:
  static __m256i low_half(Int a) { return _mm256_cvtepi32_epi64(_mm256_castsi256_si128(a)); }
  static __m256i high_half(Int a) {
    return _mm256_cvtepi32_epi64(_mm256_extracti128_si256(a, 1));
  }
  static void add_shifted(int64_t* out, __m256i low, __m256i high, int shift) {
    const __m128i count = _mm_cvtsi32_si128(shift);
    __m256i* const sums = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(sums, _mm256_add_epi64(load(out), _mm256_sll_epi64(low, count)));
    _mm256_storeu_si256(sums + 1, _mm256_add_epi64(load(out + 4), _mm256_sll_epi64(high, count)));
  }
};

}  // namespace

const Path kAvxVnni{"avxvnni", dot_multiply<YmmVector>, true};

}  // namespace hardcast
