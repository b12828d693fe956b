// 4-bit codes and 8-bit inputs: the kernel of decode and prefill. Only for kernels_avx2.cpp.
//
// vpmaddubsw gives int16 sums of two products, each |2 * 15 * 128| <= 3840; the 8 of a group of 32
// columns add up to 30720 < 2^15, so a whole group stays in int16 and one vpmaddwd by
// (scale, scale) ends it.

#pragma once

#include "avx2_parts.h"

namespace hardcast {
namespace {

struct Nibbles {
  static constexpr int kTokens = 4;

  struct Block {
    __m256i codes[16][2];  // [four columns][half]: bytes
    Factors factors;

    __m256i low(int j, int h) const { return codes[2 * j][h]; }
    __m256i high(int j, int h) const { return codes[2 * j + 1][h]; }
    void prefetch(int) const {}
    __m256i scale(int g, int h) const { return factors.scale[g][h]; }
    __m256i biased(__m256i p, int h, __m256i pair) const { return factors.biased(p, h, pair); }
  };

  static void open(const PackedMatrix& matrix, const uint8_t* record, Block& block) {
    Packed packed(matrix, record);
    for (int j = 0; j < 8; ++j) {
      for (int h = 0; h < 2; ++h) {
        block.codes[2 * j][h] = packed.low(j, h);
        block.codes[2 * j + 1][h] = packed.high(j, h);
      }
    }
    block.factors.read(packed.record, true);
  }

  template <int N>
  static inline void packed(const PackedMatrix& matrix, const uint8_t* record,
                            const Activations& x, int t, int b, int64_t* sums) {
    Packed source(matrix, record);
    if (N == 1 && x.spread != nullptr) {
      multiply<N>(source, Spread{x.spread + 8 * kBlock * b}, x, t, b, sums);
    } else {
      multiply<N>(source, rows_of(x, t, b), x, t, b, sums);
    }
  }

  template <int N>
  static inline void opened(const Block& block, const Activations& x, int t, int b,
                            int64_t* sums) {
    multiply<N>(block, rows_of(x, t, b), x, t, b, sums);
  }

  static void finish(int64_t* sums) { restore_order(sums); }

 private:
  // Eight columns' codes of a half; low() comes before high() of the same place.
  struct Packed {
    Record record;
    __m256i both[2];

    Packed(const PackedMatrix& matrix, const uint8_t* at) : record(matrix, at) {}
    __m256i low(int j, int h) {
      both[h] = load(record.codes + 64 * j + 32 * h);
      __asm__("" : "+x"(both[h]));  // load once: GCC would rather load it again for high()
      return _mm256_and_si256(both[h], _mm256_set1_epi8(15));
    }
    __m256i high(int, int h) const {
      return _mm256_and_si256(_mm256_srli_epi16(both[h], 4), _mm256_set1_epi8(15));
    }
    void prefetch(int j) const { prefetch_ahead(record.codes + 64 * j); }
    __m256i scale(int g, int h) const { return record.scale_pairs(g, h); }
    __m256i biased(__m256i p, int h, __m256i pair) const { return record.biased(p, h, pair); }
  };

  // Four input digits in every lane: broadcast from tokens' rows, or stored that way.
  struct Rows {
    const int8_t* first;
    size_t stride;
    __m256i four(int n, int column) const { return broadcast32(first + n * stride + column); }
  };
  struct Spread {
    const int8_t* first;
    __m256i four(int, int column) const { return load(first + 8 * column); }
  };

  static Rows rows_of(const Activations& x, int t, int b) {
    const size_t stride = static_cast<size_t>(x.stride);
    return {x.low + t * stride + kBlock * b, stride};
  }

  template <int N, class Source, class Input>
  static inline void multiply(Source& source, const Input& input, const Activations& x, int t,
                              int b, int64_t* sums) {
    __m256i p[2][N];
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      __m256i sum[2][N];
#pragma GCC unroll 4
      for (int j = 4 * g; j < 4 * g + 4; ++j) {
        const __m256i low0 = source.low(j, 0), low1 = source.low(j, 1);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          const __m256i digits = input.four(n, 8 * j);
          const __m256i product0 = _mm256_maddubs_epi16(low0, digits);
          const __m256i product1 = _mm256_maddubs_epi16(low1, digits);
          if (j == 4 * g) {
            sum[0][n] = product0;
            sum[1][n] = product1;
          } else {
            accumulate16(sum[0][n], product0);
            accumulate16(sum[1][n], product1);
          }
        }
        source.prefetch(j);
        if (j == 7) source.prefetch(8);  // scales and offsets
        const __m256i high0 = source.high(j, 0), high1 = source.high(j, 1);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          const __m256i digits = input.four(n, 8 * j + 4);
          accumulate16(sum[0][n], _mm256_maddubs_epi16(high0, digits));
          accumulate16(sum[1][n], _mm256_maddubs_epi16(high1, digits));
        }
      }
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i scale = source.scale(g, h);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          const __m256i scaled = _mm256_madd_epi16(sum[h][n], scale);
          p[h][n] = g == 0 ? scaled : _mm256_add_epi32(p[h][n], scaled);
        }
      }
    }
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const __m256i pair = broadcast32(x.sum_pairs + 2 * x.at(t + n, b));
      const __m256i power = broadcast32(x.powers + x.at(t + n, b));
      for (int h = 0; h < 2; ++h) {
        add_block(sums + kTileRows * n + 8 * h, source.biased(p[h][n], h, pair), power);
      }
    }
  }
};

}  // namespace
}  // namespace hardcast
