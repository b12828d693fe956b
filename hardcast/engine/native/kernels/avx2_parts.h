// What both AVX2 kernels are made of: loads, sums, and a record's scales and offsets as vectors.
// Included by kernels_avx2.cpp only.
//
// int64 sums of 8 rows are kept as even rows 0 2 4 6, then odd rows 1 3 5 7, because vpmuldq
// widens and shifts even lanes in one go; restore_order() mends that once a tile.

#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/drive.h"
#include "kernels/levels.h"

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

// Brings the line kAhead bytes behind `line` into L2: some six records on in the same run.
// Records are wider than what the hardware prefetchers keep in flight beside this much arithmetic.
// Not the intrinsic: GCC reloads the codes around it. Past the end of a matrix it is harmless.
constexpr int kAhead = 4096;
inline void prefetch_ahead(const uint8_t* line) {
  __asm__ volatile("prefetcht1 %0" : : "m"(line[kAhead]));
}

// What levels.h needs of a vector: 8 rows x 4 columns of codes.
struct Ymm {
  using Vector = __m256i;
  static constexpr bool kInRegisters = true;

  static Vector load(const uint8_t* at) {
    Vector v = bytes(at);
    __asm__("" : "+x"(v));  // load once: GCC would rather load it again for each of its parts
    return v;
  }
  static Vector bytes(const uint8_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static Vector masked(Vector v, int bits) {
    return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(bits)));
  }
  template <int kCount>
  static Vector shifted(Vector v) {
    return _mm256_srli_epi16(v, kCount);
  }
  static Vector either(Vector a, Vector b) { return _mm256_or_si256(a, b); }
  static Vector table(const uint8_t* levels) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(levels)));
  }
  static Vector lookup(Vector table, Vector v) { return _mm256_shuffle_epi8(table, v); }
};

// Per-record constants, read where they are needed: a record streams through registers once.
struct Record {
  const uint8_t* codes;
  const uint8_t* scales;   // [2 groups][16 rows]
  const uint8_t* offsets;  // int16[16 rows][2 groups], or null
  int zero;

  Record(const PackedMatrix& matrix, const uint8_t* record)
      : codes(record),
        scales(record + code_bytes(matrix.kind)),
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

}  // namespace
}  // namespace hardcast
