// Levels of a narrow span and inputs of at most 10 bits: the kernel of decode and prefill. Only for
// kernels_avx2.cpp.
//
// vpmaddubsw gives int16 sums of two products of an unsigned level and a signed digit of the input,
// and one vpmaddwd by (scale, scale) ends a run of kRun; a group of 32 columns has 8 a lane.
// A run of levels 0..span fits int16, and no product saturates, while
//   one digit, |x| <= 128:                  2 * 128 * span * kRun < 2^15: runs of 8 up to span 15,
//                                           of 4 up to 31, of 2 up to 63
//   two, x = 32 high + low, both within 16: 2 * 16 * span * 8 < 2^15: one run up to span 127
// Runs join modulo 2^32, which the block's sum fits (activations.cpp: why).

#pragma once

#include "kernels/avx2_parts.h"

namespace hardcast {
namespace {

// Four input digits in every lane: broadcast from tokens' rows, or stored that way.
struct Rows {
  const int8_t* first[2];
  size_t stride;

  Rows(const Activations& x, int t, int b) : stride(static_cast<size_t>(x.stride)) {
    const size_t at = t * stride + kBlock * b;
    first[0] = x.low + at;
    first[1] = x.high != nullptr ? x.high + at : nullptr;
  }
  __m256i four(int d, int n, int column) const {
    return broadcast32(first[d] + n * stride + column);
  }
};
struct Spread {
  const int8_t* first;

  Spread(const Activations& x, int, int b) : first(x.spread + 8 * kBlock * b) {}
  __m256i four(int, int, int column) const { return load(first + 8 * column); }
};

// What all kinds share: a record's levels, unpacked or not, times tokens.
template <int kRun, int kDigits>
struct ByteProduct {
  struct Block {
    __m256i levels[16][2];  // [four columns][half]: bytes
    Factors factors;

    __m256i four(int q, int h) const { return levels[q][h]; }
    void prefetch(int) const {}
    __m256i scale(int g, int h) const { return factors.scale[g][h]; }
    __m256i biased(__m256i p, int h, __m256i pair) const { return factors.biased(p, h, pair); }
  };

  template <int N, class Source, class Input>
  static inline void multiply(Source& source, const Input& input, const Activations& x, int t,
                              int b, int64_t* sums) {
    __m256i p[kDigits][2][N];
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      __m256i sum[kDigits][2][N];
#pragma GCC unroll 8
      for (int q = 8 * g; q < 8 * g + 8; ++q) {
        const __m256i level0 = source.four(q, 0), level1 = source.four(q, 1);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
#pragma GCC unroll 2
          for (int d = 0; d < kDigits; ++d) {
            const __m256i digits = input.four(d, n, 4 * q);
            const __m256i product0 = _mm256_maddubs_epi16(level0, digits);
            const __m256i product1 = _mm256_maddubs_epi16(level1, digits);
            if (q % kRun == 0) {
              sum[d][0][n] = product0;
              sum[d][1][n] = product1;
            } else {
              accumulate16(sum[d][0][n], product0);
              accumulate16(sum[d][1][n], product1);
            }
          }
        }
        source.prefetch(q);
        if (q % kRun == kRun - 1) {
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h) {
            const __m256i scale = source.scale(g, h);
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
#pragma GCC unroll 2
              for (int d = 0; d < kDigits; ++d) {
                const __m256i scaled = _mm256_madd_epi16(sum[d][h][n], scale);
                p[d][h][n] = q + 1 == kRun ? scaled : _mm256_add_epi32(p[d][h][n], scaled);
              }
            }
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const __m256i pair = broadcast32(x.sum_pairs + 2 * x.at(t + n, b));
      const __m256i power = broadcast32(x.powers + x.at(t + n, b));
      for (int h = 0; h < 2; ++h) {
        __m256i total = p[0][h][n];
        if (kDigits == 2) {
          total = _mm256_add_epi32(total, _mm256_slli_epi32(p[kDigits - 1][h][n], kNarrowDigit));
        }
        add_block(sums + kTileRows * n + 8 * h, source.biased(total, h, pair), power);
      }
    }
  }

  template <int N>
  HARDCAST_SHARED static void opened(const Block& block, const Activations& x, int t, int b,
                                     int64_t* sums) {
    multiply<N>(block, Rows(x, t, b), x, t, b, sums);
  }
};

// The kernel of drive.h. One token goes straight from registers, and so do several from nibbles,
// which cost little to take apart; several tokens of other kinds share a Block.
template <Kind kKind, int kRun, int kDigits>
struct Bytes {
  using Product = ByteProduct<kRun, kDigits>;
  using Block = typename Product::Block;
  static constexpr int kTokens = 4 / kDigits;

  HARDCAST_SHARED static void open(const PackedMatrix& matrix, const uint8_t* record,
                                   Block& block) {
    Packed packed(matrix, record);
    each_four<Ymm>([&](int q) {
      for (int h = 0; h < 2; ++h) block.levels[q][h] = packed.four(q, h);
      packed.prefetch(q);
    });
    block.factors.read(packed.record, true);
  }

  template <int N>
  static inline void packed(const PackedMatrix& matrix, const uint8_t* record,
                            const Activations& x, int t, int b, int64_t* sums) {
    if constexpr (N == 1 && kDigits == 1) {
      if (x.spread != nullptr) {
        Packed source(matrix, record);
        return Product::template multiply<N>(source, Spread(x, t, b), x, t, b, sums);
      }
    }
    if constexpr (N == 1 || kKind == Kind::U4 || kKind == Kind::L4) {
      Packed source(matrix, record);
      Product::template multiply<N>(source, Rows(x, t, b), x, t, b, sums);
    } else {
      Block block;
      open(matrix, record, block);
      Product::template opened<N>(block, x, t, b, sums);
    }
  }

  template <int N>
  static inline void opened(const Block& block, const Activations& x, int t, int b,
                            int64_t* sums) {
    Product::template multiply<N>(block, Rows(x, t, b), x, t, b, sums);
  }

  static void finish(int64_t* sums) { restore_order(sums); }

 private:
  struct Packed {
    Record record;
    Levels<Ymm, kKind> levels[2];

    Packed(const PackedMatrix& matrix, const uint8_t* at) : record(matrix, at) {
      for (auto& half : levels) half.begin(matrix);
    }
    __m256i four(int q, int h) { return levels[h].four(record.codes + 32 * h, q); }
    void prefetch(int q) const {
      constexpr int kLines = code_bytes(kKind) / 64;
      for (int line = kLines * q / 16; line < kLines * (q + 1) / 16; ++line) {
        prefetch_ahead(record.codes + 64 * line);
      }
      if (q == 15) prefetch_ahead(record.codes + 64 * kLines);  // scales and offsets
    }
    __m256i scale(int g, int h) const { return record.scale_pairs(g, h); }
    __m256i biased(__m256i p, int h, __m256i pair) const { return record.biased(p, h, pair); }
  };
};

}  // namespace
}  // namespace hardcast
