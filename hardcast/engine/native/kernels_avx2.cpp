// AVX2 (compiled with -mavx2). A ymm holds 8 rows x 4 columns of codes.
//
// Without a dot product into int32 there are two exact ways:
//   Nibbles  4-bit codes and 8-bit inputs. vpmaddubsw gives int16 sums of two products, each
//            |2 * 15 * 128| <= 3840; the 8 of a group of 32 columns add up to 30720 < 2^15, so a
//            whole group stays in int16 and one vpmaddwd by (scale, scale) ends it.
//   Words    everything else. Codes widen to int16 and meet 16-bit inputs in vpmaddwd: a group's
//            lane is at most 16 * 255 * 2^14 < 2^27.
// Both leave a block's sums P in int32 (activations.cpp: why it holds them), or, for wide inputs,
// go to int64 at the scale.
//
// int64 sums of 8 rows are kept as even rows 0 2 4 6, then odd rows 1 3 5 7, because vpmuldq
// widens and shifts even lanes in one go; finish() restores the order once a tile.

#include <immintrin.h>

#include "drive.h"
#include "paths.h"

namespace hardcast {

namespace {

inline __m256i load(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}

inline void store(void* at, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(at), v); }

inline __m256i broadcast32(const void* at) {
  int32_t value;
  std::memcpy(&value, at, sizeof value);
  return _mm256_set1_epi32(value);
}

inline __m256i broadcast64(const void* at) {
  int64_t value;
  std::memcpy(&value, at, sizeof value);
  return _mm256_set1_epi64x(value);
}

// acc += product, and an order that the compiler must keep: left free, GCC turns a chain of adds
// into a tree, computes every product first and spills them all.
inline void accumulate16(__m256i& acc, __m256i product) {
  acc = _mm256_add_epi16(acc, product);
  __asm__("" : "+x"(acc));
}

inline void accumulate32(__m256i& acc, __m256i product) {
  acc = _mm256_add_epi32(acc, product);
  __asm__("" : "+x"(acc));
}

inline __m256i odd_lanes(__m256i v) { return _mm256_srli_epi64(v, 32); }

// sums[8] (even rows, odd rows) += P << exponent.
inline void add_block(int64_t* sums, __m256i p, __m256i power) {
  store(sums, _mm256_add_epi64(load(sums), _mm256_mul_epi32(p, power)));
  store(sums + 4, _mm256_add_epi64(load(sums + 4), _mm256_mul_epi32(odd_lanes(p), power)));
}

// sums[8] (even rows, odd rows) += (a * b) << shift, for int32 lanes of any size.
inline void add_product(int64_t* sums, __m256i a, __m256i b, __m128i shift) {
  const __m256i even = _mm256_sll_epi64(_mm256_mul_epi32(a, b), shift);
  const __m256i odd = _mm256_sll_epi64(_mm256_mul_epi32(odd_lanes(a), odd_lanes(b)), shift);
  store(sums, _mm256_add_epi64(load(sums), even));
  store(sums + 4, _mm256_add_epi64(load(sums + 4), odd));
}

inline void restore_order(int64_t* sums) {
  for (int h = 0; h < 2; ++h, sums += 8) {
    const __m256i even = load(sums), odd = load(sums + 4);
    const __m256i low = _mm256_unpacklo_epi64(even, odd);    // rows 0 1 4 5
    const __m256i high = _mm256_unpackhi_epi64(even, odd);   // rows 2 3 6 7
    store(sums, _mm256_permute2x128_si256(low, high, 0x20));
    store(sums + 4, _mm256_permute2x128_si256(low, high, 0x31));
  }
}

// Per-record constants, read where they are needed: a record streams through registers once.
struct Record {
  const uint8_t* codes;
  const uint8_t* scales;   // [2 groups][16 rows]
  const uint8_t* offsets;  // int16[16 rows][2 groups], or null
  int zero;

  Record(const PackedMatrix& matrix, const uint8_t* record)
      : codes(record),
        scales(record + matrix.code_bytes()),
        offsets(matrix.has_offsets ? scales + 32 : nullptr),
        zero(matrix.zero) {}

  // 8 rows' scales as int16 pairs (scale, scale).
  __m256i scale_pairs(int g, int h) const {
    const __m256i rows = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 16 * g)));
    const __m256i first = _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1,
                                           4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
    const __m256i select = h == 0 ? first : _mm256_add_epi8(first, _mm256_set1_epi16(8));
    return _mm256_shuffle_epi8(rows, select);
  }

  __m256i scales32(int g, int h) const {
    return _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales + 16 * g + 8 * h)));
  }

  // What multiplies the pair (sum of x in group 0, in group 1): offset, and zero * scale, which is
  // at most 128 * 255 < 2^15. pack() made them one wherever both together fit int16.
  __m256i offset_pairs(int h) const { return load(offsets + 32 * h); }
  __m256i zero_pairs(int h) const {
    const __m256i pairs = _mm256_blend_epi16(scale_pairs(0, h), scale_pairs(1, h), 0xaa);
    return _mm256_mullo_epi16(pairs, _mm256_set1_epi16(static_cast<int16_t>(zero)));
  }

  __m256i biased(__m256i p, int h, __m256i sum_pair) const {
    if (offsets != nullptr) {
      p = _mm256_add_epi32(p, _mm256_madd_epi16(offset_pairs(h), sum_pair));
    }
    if (zero != 0) p = _mm256_add_epi32(p, _mm256_madd_epi16(zero_pairs(h), sum_pair));
    return p;
  }
};

// The same constants, ready in L1 for many tokens.
struct Factors {
  __m256i scale[2][2];  // [group][half]
  __m256i bias[2][2];   // [which][half]
  int biases;

  void read(const Record& record, bool pairs) {
    biases = 0;
    for (int h = 0; h < 2; ++h) {
      for (int g = 0; g < 2; ++g) {
        scale[g][h] = pairs ? record.scale_pairs(g, h) : record.scales32(g, h);
      }
    }
    if (record.offsets != nullptr) add_bias(record.offset_pairs(0), record.offset_pairs(1));
    if (record.zero != 0) add_bias(record.zero_pairs(0), record.zero_pairs(1));
  }

  __m256i biased(__m256i p, int h, __m256i sum_pair) const {
    for (int i = 0; i < biases; ++i) {
      p = _mm256_add_epi32(p, _mm256_madd_epi16(bias[i][h], sum_pair));
    }
    return p;
  }

 private:
  void add_bias(__m256i low_rows, __m256i high_rows) {
    bias[biases][0] = low_rows;
    bias[biases][1] = high_rows;
    ++biases;
  }
};

struct Nibbles {
  static constexpr int kTokens = 4;

  struct Block {
    __m256i codes[16][2];  // [four columns][half]: bytes
    Factors factors;

    __m256i low(int j, int h) const { return codes[2 * j][h]; }
    __m256i high(int j, int h) const { return codes[2 * j + 1][h]; }
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

template <Kind kKind, bool kWide>
struct Words {
  static constexpr int kTokens = 2;

  // A half's words come as two vectors: rows 0 1 | 4 5 and rows 2 3 | 6 7 of its 8, 4 columns each.
  struct Quad {
    __m256i rows01, rows23;
  };

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

  static void open(const PackedMatrix& matrix, const uint8_t* record, Block& block) {
    const Packed packed(matrix, record);
    for (int q = 0; q < 16; ++q) {
      for (int h = 0; h < 2; ++h) block.words[q][h] = packed.fetch(q, h);
    }
    block.factors.read(packed, false);
    block.offsets = packed.offsets;
    block.zero = packed.zero;
  }

  template <int N>
  static inline void packed(const PackedMatrix& matrix, const uint8_t* record,
                            const Activations& x, int t, int b, int64_t* sums) {
    multiply<N>(Packed(matrix, record), x, t, b, sums);
  }

  template <int N>
  static inline void opened(const Block& block, const Activations& x, int t, int b,
                            int64_t* sums) {
    multiply<N>(block, x, t, b, sums);
  }

  static void finish(int64_t* sums) { restore_order(sums); }

 private:
  struct Packed : Record {
    using Record::Record;

    Quad fetch(int q, int h) const {
      __m256i bytes;
      if constexpr (kKind == Kind::U4) {
        bytes = load(codes + 64 * (q / 2) + 32 * h);
        if (q % 2 != 0) bytes = _mm256_srli_epi16(bytes, 4);
        bytes = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
      } else {
        bytes = load(codes + 64 * q + 32 * h);
      }
      const __m256i none = _mm256_setzero_si256();
      return {_mm256_unpacklo_epi8(bytes, none), _mm256_unpackhi_epi8(bytes, none)};
    }
    __m256i scale(int g, int h) const { return scales32(g, h); }
  };

  template <int N, class Source>
  static inline void multiply(const Source& source, const Activations& x, int t, int b,
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
};

void multiply(const PackedMatrix& matrix, const Activations& x, int begin, int end, Sink sink) {
  if (matrix.kind == Kind::U8) {
    if (x.wide) return drive<Words<Kind::U8, true>>(matrix, x, begin, end, sink);
    return drive<Words<Kind::U8, false>>(matrix, x, begin, end, sink);
  }
  if (x.wide) return drive<Words<Kind::U4, true>>(matrix, x, begin, end, sink);
  if (x.bits > 8) return drive<Words<Kind::U4, false>>(matrix, x, begin, end, sink);
  drive<Nibbles>(matrix, x, begin, end, sink);
}

}  // namespace

const Path kAvx2{"avx2", multiply};

}  // namespace hardcast
