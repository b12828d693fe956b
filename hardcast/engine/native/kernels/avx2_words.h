// What avx2_bytes.h does not take: levels of a wide span, wide inputs. Included by
// kernels_avx2.cpp only.
//
// Levels widen to int16 and meet 16-bit inputs in vpmaddwd: a group's lane is at most
// 16 * 255 * 2^14 < 2^27. A block's sum stays in int32, or, kWide, goes to int64 at the scale.

#pragma once

#include "kernels/avx2_parts.h"

namespace hardcast {
namespace {

// A half's words come as two vectors: rows 0 1 | 4 5 and rows 2 3 | 6 7 of its 8, 4 columns each.
struct Quad {
  __m256i rows01, rows23;
};

// What all kinds share: a record's levels, unpacked or not, times tokens.
template <bool kWide>
struct WordProduct {
  struct Block {
    Quad words[16][2];  // [four columns][half]
    Factors factors;
    const uint8_t* offsets;
    int zero;

    Quad fetch(int q, int h) const { return words[q][h]; }
    __m256i scale(int g, int h) const { return factors.scale[g][h]; }
    __m256i offset_pairs(int h) const { return load(offsets + 32 * h); }
    __m256i biased(__m256i p, int h, __m256i pair) const { return factors.biased(p, h, pair); }
  };

  template <int N, class Source>
  static inline void multiply(Source& source, const Activations& x, int t, int b,
                              int64_t* sums) {
    __m256i p[2][N];
    const int16_t* const first = x.x + static_cast<size_t>(t) * x.stride + kBlock * b;
    for (int g = 0; g < 2; ++g) {
      __m256i sum01[2][N], sum23[2][N];
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) {
        const Quad words[2] = {source.fetch(8 * g + q, 0), source.fetch(8 * g + q, 1)};
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) {
          const __m256i input =
              broadcast64(first + static_cast<size_t>(n) * x.stride + kGroup * g + 4 * q);
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h) {
            const __m256i product01 = _mm256_madd_epi16(words[h].rows01, input);
            const __m256i product23 = _mm256_madd_epi16(words[h].rows23, input);
            if (q == 0) {
              sum01[h][n] = product01;
              sum23[h][n] = product23;
            } else {
              accumulate32(sum01[h][n], product01);
              accumulate32(sum23[h][n], product23);
            }
          }
        }
      }
      for (int n = 0; n < N; ++n) {
        for (int h = 0; h < 2; ++h) {
          // Two halves of each row's sum lie side by side: hadd joins them, rows 0 1 2 3 | 4 5 6 7.
          const __m256i dot = _mm256_hadd_epi32(sum01[h][n], sum23[h][n]);
          if constexpr (kWide) {
            finish_wide(source, x, t + n, b, g, h, dot, sums + kTileRows * n + 8 * h);
          } else {
            const __m256i scaled = _mm256_mullo_epi32(dot, source.scale(g, h));
            p[h][n] = g == 0 ? scaled : _mm256_add_epi32(p[h][n], scaled);
          }
        }
      }
    }
    if constexpr (!kWide) {
      for (int n = 0; n < N; ++n) {
        const __m256i pair = broadcast32(x.sum_pairs + 2 * x.at(t + n, b));
        const __m256i power = broadcast32(x.powers + x.at(t + n, b));
        for (int h = 0; h < 2; ++h) {
          add_block(sums + kTileRows * n + 8 * h, source.biased(p[h][n], h, pair), power);
        }
      }
    }
  }

  // |sum of value * x| <= 32 * 128 * 2^14 = 2^26: int32 until the scale, int64 from there.
  template <class Source>
  static inline void finish_wide(const Source& source, const Activations& x, int t, int b, int g,
                                 int h, __m256i dot, int64_t* sums) {
    const int32_t sum = x.sums[2 * x.at(t, b) + g];
    const __m128i shift = _mm_cvtsi32_si128(x.exponents[x.at(t, b)]);
    const __m256i value = _mm256_add_epi32(dot, _mm256_set1_epi32(source.zero * sum));
    add_product(sums, value, source.scale(g, h), shift);
    if (source.offsets != nullptr) {
      const __m256i pairs = source.offset_pairs(h);
      const __m256i offset =
          _mm256_srai_epi32(g == 0 ? _mm256_slli_epi32(pairs, 16) : pairs, 16);
      add_product(sums, offset, _mm256_set1_epi32(sum), shift);
    }
  }

  template <int N>
  HARDCAST_SHARED static void opened(const Block& block, const Activations& x, int t, int b,
                                     int64_t* sums) {
    multiply<N>(block, x, t, b, sums);
  }
};

// The kernel of drive.h. Bytes go straight from registers, other kinds, which only wide inputs
// bring here, by way of a Block.
template <Kind kKind, bool kWide>
struct Words {
  using Product = WordProduct<kWide>;
  using Block = typename Product::Block;
  static constexpr int kTokens = 2;
  static constexpr bool kDirect = kKind == Kind::U8 && !kWide;

  HARDCAST_SHARED static void open(const PackedMatrix& matrix, const uint8_t* record,
                                   Block& block) {
    Packed packed(matrix, record);
    each_four<Ymm>([&](int q) {
      for (int h = 0; h < 2; ++h) block.words[q][h] = packed.fetch(q, h);
    });
    block.factors.read(packed, false);
    block.offsets = packed.offsets;
    block.zero = packed.zero;
  }

  template <int N>
  static inline void packed(const PackedMatrix& matrix, const uint8_t* record,
                            const Activations& x, int t, int b, int64_t* sums) {
    if constexpr (kDirect) {
      Packed source(matrix, record);
      Product::template multiply<N>(source, x, t, b, sums);
    } else {
      Block block;
      open(matrix, record, block);
      opened<N>(block, x, t, b, sums);
    }
  }

  template <int N>
  static inline void opened(const Block& block, const Activations& x, int t, int b,
                            int64_t* sums) {
    if constexpr (kDirect) {
      Product::template multiply<N>(block, x, t, b, sums);
    } else {
      Product::template opened<N>(block, x, t, b, sums);
    }
  }

  static void finish(int64_t* sums) { restore_order(sums); }

 private:
  struct Packed : Record {
    Levels<Ymm, kKind> levels[2];

    Packed(const PackedMatrix& matrix, const uint8_t* record) : Record(matrix, record) {
      for (auto& half : levels) half.begin(matrix);
    }
    Quad fetch(int q, int h) {
      if (kKind == Kind::U8 && h == 0) prefetch_ahead(codes + 64 * q);
      const __m256i bytes = levels[h].four(codes + 32 * h, q);
      const __m256i none = _mm256_setzero_si256();
      return {_mm256_unpacklo_epi8(bytes, none), _mm256_unpackhi_epi8(bytes, none)};
    }
    __m256i scale(int g, int h) const { return scales32(g, h); }
  };
};

}  // namespace
}  // namespace hardcast
