#include "steps/matvec.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "fixed.h"

namespace hardcast {

namespace {

// y[i] = saturate(rescale(rs(sums[i], drop) * multiplier[i] * r, shift[i] + scale) + bias[i]) for
// one tile of one token.
using FinishTile = void (*)(const int64_t* sums, const uint8_t* multiplier, const int8_t* shift,
                            int drop, int32_t r, int scale, const int32_t* bias, int32_t* y);

void finish_tile(const int64_t* sums, const uint8_t* multiplier, const int8_t* shift, int drop,
                 int32_t r, int scale, const int32_t* bias, int32_t* y) {
  for (int i = 0; i < kTileRows; ++i) {
    const int64_t product = rs(sums[i], drop) * (int64_t{multiplier[i]} * r);
    y[i] = saturate32(rescale(product, shift[i] + scale) + bias[i]);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) inline __m256i widened(const int32_t* four) {
  return _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(four)));
}

__attribute__((target("avx2"))) inline __m256i widened(const uint8_t* four) {
  return _mm256_cvtepu8_epi64(_mm_loadu_si32(four));
}

__attribute__((target("avx2"))) inline __m256i widened(const int8_t* four) {
  return _mm256_cvtepi8_epi64(_mm_loadu_si32(four));
}

// The same where every shift[i] + scale lies in 0..62.
// |t| = |rs(sums, drop)| <= 2^37 and M r < 2^25, so the product is below 2^62; t's two halves are
// multiplied apart. AVX2 shifts 64-bit lanes logically only: adding 2^62 makes |x| <= 2^62
// unsigned, and being a multiple of 2^k it leaves again exactly.
__attribute__((target("avx2"))) void finish_tile_avx2(const int64_t* sums,
                                                      const uint8_t* multiplier,
                                                      const int8_t* shift, int drop, int32_t r,
                                                      int scale, const int32_t* bias,
                                                      int32_t* y) {
  const __m256i offset = _mm256_set1_epi64x(int64_t{1} << 62);
  const __m256i one = _mm256_set1_epi64x(1);
  const __m256i most = _mm256_set1_epi64x(INT32_MAX), least = _mm256_set1_epi64x(INT32_MIN);
  const __m256i low_lanes = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const __m128i drop_count = _mm_cvtsi32_si128(drop);
  const __m256i drop_in = _mm256_set1_epi64x((int64_t{1} << 62) + ((int64_t{1} << drop) >> 1));
  const __m256i drop_out = _mm256_srl_epi64(offset, drop_count);
  const __m256i factor = _mm256_set1_epi64x(r), scales = _mm256_set1_epi64x(scale);
  for (int i = 0; i < kTileRows; i += 4) {
    const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i));
    const __m256i t = _mm256_sub_epi64(
        _mm256_srl_epi64(_mm256_add_epi64(sum, drop_in), drop_count), drop_out);
    const __m256i by = _mm256_mul_epu32(widened(multiplier + i), factor);
    const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(t, 32), by);
    const __m256i product =
        _mm256_add_epi64(_mm256_mul_epu32(t, by), _mm256_slli_epi64(high, 32));
    const __m256i k = _mm256_add_epi64(widened(shift + i), scales);
    const __m256i half = _mm256_srli_epi64(_mm256_sllv_epi64(one, k), 1);
    const __m256i moved = _mm256_srlv_epi64(
        _mm256_add_epi64(_mm256_add_epi64(product, half), offset), k);
    __m256i value = _mm256_sub_epi64(moved, _mm256_srlv_epi64(offset, k));
    value = _mm256_add_epi64(value, widened(bias + i));
    value = _mm256_blendv_epi8(value, most, _mm256_cmpgt_epi64(value, most));
    value = _mm256_blendv_epi8(value, least, _mm256_cmpgt_epi64(least, value));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i),
                     _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(value, low_lanes)));
  }
}

#else
const FinishTile finish_tile_avx2 = finish_tile;
#endif

}  // namespace

void matvec(const Model& model, const Matrix& matrix, const Activations& x, int bits,
            const Scale* scales, int point_out, const int32_t* bias, int tile_begin,
            int tile_end, int32_t* out) {
  const int rows = matrix.packed.rows;
  static const int32_t kNoBias[kTileRows] = {};
  auto sink = [&](int tile, int token_begin, int tokens, const int64_t* sums) {
    const int first = tile * kTileRows, count = std::min(kTileRows, rows - first);
    for (int t = 0; t < tokens; ++t) {
      const Scale& s = scales[token_begin + t];
      const int drop = std::max(s.largest_exponent + matrix.sum_bits + bits - 1 - kProductBits, 0);
      const int scale = s.fraction - drop - point_out;
      const bool common =
          matrix.least_shift + scale >= 0 && matrix.most_shift + scale <= kMostShift;
      const FinishTile finish = common && model.path->avx2 ? finish_tile_avx2 : finish_tile;
      int32_t* const to = out + static_cast<size_t>(token_begin + t) * rows + first;
      int32_t y[kTileRows];  // a last, short tile must not write past its rows
      finish(sums + t * kTileRows, matrix.multiplier.data() + first, matrix.shift.data() + first,
             drop, s.r, scale, bias != nullptr ? bias + first : kNoBias,
             count == kTileRows ? to : y);
      if (count < kTileRows) std::copy_n(y, count, to);
    }
  };
  model.path->multiply(matrix.packed, x, tile_begin, tile_end, make_sink(sink));
}

}  // namespace hardcast
