// The kernel for instruction sets with a four-way byte dot product into int32 (VNNI, NEON), and,
// over plain arrays, the portable path. Included by the kernels_*.cpp only; see drive.h.
//
// V wraps one vector of kLanes int32 lanes, lane = row. A dot product adds, to each row's lane,
// four codes times four input digits. An input of up to 8 bits is one signed digit; a wider one is
// x = 128 high + low with low in 0..127 and high in -128..127.
//
// Bounds of one group (32 columns): |sum of code * digit| <= 32 * 255 * 128 < 2^20, and the joined
// |sum of code * x| <= 32 * 255 * 2^14 < 2^27, so both fit int32 at every width.

#pragma once

#include "drive.h"

namespace hardcast {
namespace {

template <class V, Kind kKind, int kDigits, bool kWide>
struct DotKernel {
  using Int = typename V::Int;
  using Codes = typename V::Codes;
  static constexpr int kParts = kTileRows / V::kLanes;
  static constexpr int kWanted = V::kAccumulators / (kParts * kDigits);
  static constexpr int kTokens = kWanted < 1 ? 1 : kWanted > 8 ? 8 : kWanted;

  struct Block {
    alignas(64) uint8_t unpacked[kTileRows * kBlock];
    const uint8_t* codes;  // 16 vectors of 64 bytes: `unpacked`, or the record itself
    const uint8_t* scales;
    const int16_t* offsets;  // or null
    int zero;
  };

  static void open(const PackedMatrix& matrix, const uint8_t* record, Block& block) {
    describe(matrix, record, block);
    if constexpr (kKind == Kind::U4) {
      for (int j = 0; j < 8; ++j) {
        for (int p = 0; p < kParts; ++p) {
          const Codes both = V::codes(record + 64 * j + 4 * V::kLanes * p);
          uint8_t* const out = block.unpacked + 128 * j + 4 * V::kLanes * p;
          V::store(out, V::low_nibbles(both));
          V::store(out + 64, V::high_nibbles(both));
        }
      }
      block.codes = block.unpacked;
    }
  }

  template <int N>
  static void packed(const PackedMatrix& matrix, const uint8_t* record, const Activations& x,
                     int t, int b, int64_t* sums) {
    Block block;
    describe(matrix, record, block);
    multiply<N, kKind == Kind::U4>(block, x, t, b, sums);
  }

  template <int N>
  static void opened(const Block& block, const Activations& x, int t, int b, int64_t* sums) {
    multiply<N, false>(block, x, t, b, sums);
  }

  static void finish(int64_t*) {}  // lanes are rows already

 private:
  static void describe(const PackedMatrix& matrix, const uint8_t* record, Block& block) {
    block.codes = record;
    block.scales = record + matrix.code_bytes();
    block.offsets =
        matrix.has_offsets ? reinterpret_cast<const int16_t*>(block.scales + 32) : nullptr;
    block.zero = matrix.zero + (kKind == Kind::U8 && V::kSignedCodes ? 128 : 0);
  }

  template <int N, bool kNibbles>
  static inline void multiply(const Block& block, const Activations& x, int t, int b,
                              int64_t* sums) {
    Int total[kParts][N];
    for (int p = 0; p < kParts; ++p) {
      for (int n = 0; n < N; ++n) total[p][n] = V::zero();
    }
    for (int g = 0; g < 2; ++g) {
      Int dot[kDigits][kParts][N];
      for (int d = 0; d < kDigits; ++d) {
        for (int p = 0; p < kParts; ++p) {
          for (int n = 0; n < N; ++n) dot[d][p][n] = V::zero();
        }
      }
      const size_t column = static_cast<size_t>(t) * x.stride + kBlock * b + kGroup * g;
      if constexpr (kNibbles) {
        for (int j = 0; j < 4; ++j) {
          Codes low[kParts], high[kParts];
          for (int p = 0; p < kParts; ++p) {
            const Codes both = V::codes(block.codes + 256 * g + 64 * j + 4 * V::kLanes * p);
            low[p] = V::low_nibbles(both);
            high[p] = V::high_nibbles(both);
          }
          accumulate<N>(dot, low, x, column + 8 * j);
          accumulate<N>(dot, high, x, column + 8 * j + 4);
        }
      } else {
        for (int j = 0; j < 8; ++j) {
          Codes codes[kParts];
          for (int p = 0; p < kParts; ++p) {
            const uint8_t* const at = block.codes + 512 * g + 64 * j + 4 * V::kLanes * p;
            codes[p] = kKind == Kind::U8 ? V::bytes(at) : V::codes(at);
          }
          accumulate<N>(dot, codes, x, column + 4 * j);
        }
      }
      for (int p = 0; p < kParts; ++p) {
        const Int scale = V::scales(block.scales + 16 * g + V::kLanes * p);
        for (int n = 0; n < N; ++n) {
          const int32_t sum = x.sums[2 * x.at(t + n, b) + g];
          Int group = dot[0][p][n];
          if constexpr (kDigits == 2) group = V::add(group, V::times_128(dot[1][p][n]));
          group = V::add(group, V::broadcast(block.zero * sum));  // now sum of value * x
          if constexpr (kWide) {
            int64_t* const out = sums + kTileRows * n + V::kLanes * p;
            const int shift = x.exponents[x.at(t + n, b)];
            V::multiply_shift_add(out, group, scale, shift);
            if (block.offsets) {
              const Int offset = V::offset(block.offsets + 2 * V::kLanes * p, g);
              V::multiply_shift_add(out, offset, V::broadcast(sum), shift);
            }
          } else {
            total[p][n] = V::add(total[p][n], V::multiply(scale, group));
          }
        }
      }
    }
    if constexpr (!kWide) {
      for (int n = 0; n < N; ++n) {
        const int shift = x.exponents[x.at(t + n, b)];
        for (int p = 0; p < kParts; ++p) {
          if (block.offsets) {
            total[p][n] =
                V::add(total[p][n], V::pair_dot(block.offsets + 2 * V::kLanes * p,
                                                x.sum_pairs + 2 * x.at(t + n, b)));
          }
          V::shift_add(sums + kTileRows * n + V::kLanes * p, total[p][n], shift);
        }
      }
    }
  }

  template <int N>
  static inline void accumulate(Int (&dot)[kDigits][kParts][N], const Codes (&codes)[kParts],
                                const Activations& x, size_t column) {
    for (int n = 0; n < N; ++n) {
      const size_t at = column + static_cast<size_t>(n) * x.stride;
      for (int d = 0; d < kDigits; ++d) {
        const auto digits = V::digits((d == 0 ? x.low : x.high) + at);
        for (int p = 0; p < kParts; ++p) dot[d][p][n] = V::dot(dot[d][p][n], codes[p], digits);
      }
    }
  }
};

// Picks the kernel for a matrix and an input: kind, digits, int32 or int64 block sums.
template <class V, Kind kKind>
void dot_multiply_kind(const PackedMatrix& matrix, const Activations& x, int begin, int end,
                       Sink sink) {
  if (x.wide) return drive<DotKernel<V, kKind, 2, true>>(matrix, x, begin, end, sink);
  if (x.bits > 8) return drive<DotKernel<V, kKind, 2, false>>(matrix, x, begin, end, sink);
  drive<DotKernel<V, kKind, 1, false>>(matrix, x, begin, end, sink);
}

template <class V>
void dot_multiply(const PackedMatrix& matrix, const Activations& x, int begin, int end,
                  Sink sink) {
  if (matrix.kind == Kind::U4) return dot_multiply_kind<V, Kind::U4>(matrix, x, begin, end, sink);
  dot_multiply_kind<V, Kind::U8>(matrix, x, begin, end, sink);
}

}  // namespace
}  // namespace hardcast
