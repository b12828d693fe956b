// The kernel for instruction sets with a four-way byte dot product into int32 (VNNI, NEON), and,
// over plain arrays, the portable path. Included by the kernels_*.cpp only; see drive.h.
//
// V wraps one vector of kLanes int32 lanes, lane = row. A dot product adds, to each row's lane,
// four levels times four input digits. An input of up to 8 bits is one signed digit; a wider one is
// two, x = 2^digit high + low (activations.h).
//
// Bounds of one group (32 columns): |sum of level * digit| <= 32 * 255 * 128 < 2^20, and the joined
// |sum of level * x| <= 32 * 255 * 2^14 < 2^27, so both fit int32 at every width.

#pragma once

#include "kernels/drive.h"
#include "kernels/levels.h"

namespace hardcast {
namespace {

// What all kinds share: a record's levels, unpacked or not, times tokens.
template <class V, int kDigits, bool kWide>
struct DotProduct {
  using Int = typename V::Int;
  using Vector = typename V::Vector;
  static constexpr int kParts = kTileRows / V::kLanes;
  static constexpr int kPartBytes = 4 * V::kLanes;
  static constexpr int kWanted = V::kAccumulators / (kParts * kDigits);
  static constexpr int kTokens = kWanted < 1 ? 1 : kWanted > 8 ? 8 : kWanted;

  struct Factors {
    const uint8_t* scales;
    const int16_t* offsets;  // or null
    int zero;
  };

  struct Block {
    alignas(64) uint8_t levels[kTileRows * kBlock];  // 16 vectors of 64 bytes
    Factors factors;

    static constexpr bool kInOrder = false;
    Vector four(int q, int p) const { return V::load(levels + 64 * q + kPartBytes * p); }
  };

  // source.four(q, p): levels of columns 4q .. 4q+3 in the p-th vector of rows; kInOrder: from
  // registers, so that q must be a constant.
  template <int N, class Source>
  static inline void multiply(Source& source, const Factors& block, const Activations& x, int t,
                              int b, int64_t* sums) {
    Int total[kParts][N];
    for (int p = 0; p < kParts; ++p) {
      for (int n = 0; n < N; ++n) total[p][n] = V::zero();
    }
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      Int dot[kDigits][kParts][N];
      for (int d = 0; d < kDigits; ++d) {
        for (int p = 0; p < kParts; ++p) {
          for (int n = 0; n < N; ++n) dot[d][p][n] = V::zero();
        }
      }
      const size_t column = static_cast<size_t>(t) * x.stride + kBlock * b + kGroup * g;
      const auto add_columns = [&](int j) {
        Vector level[kParts];
        for (int p = 0; p < kParts; ++p) level[p] = source.four(8 * g + j, p);
        accumulate<N>(dot, level, x, column + 4 * j);
      };
      if constexpr (Source::kInOrder) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) add_columns(j);
      } else {
        for (int j = 0; j < 8; ++j) add_columns(j);
      }
      for (int p = 0; p < kParts; ++p) {
        const Int scale = V::scales(block.scales + 16 * g + V::kLanes * p);
        for (int n = 0; n < N; ++n) {
          const int32_t sum = x.sums[2 * x.at(t + n, b) + g];
          Int group = dot[0][p][n];
          if constexpr (kDigits == 2) {
            constexpr int kDigit = kWide ? kWideDigit : kNarrowDigit;
            group = V::add(group, V::template shifted_left<kDigit>(dot[1][p][n]));
          }
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
  static inline void accumulate(Int (&dot)[kDigits][kParts][N], const Vector (&level)[kParts],
                                const Activations& x, size_t column) {
    for (int n = 0; n < N; ++n) {
      const size_t at = column + static_cast<size_t>(n) * x.stride;
      for (int d = 0; d < kDigits; ++d) {
        const auto digits = V::digits((d == 0 ? x.low : x.high) + at);
        for (int p = 0; p < kParts; ++p) dot[d][p][n] = V::dot(dot[d][p][n], level[p], digits);
      }
    }
  }

  template <int N>
  HARDCAST_SHARED static void opened(const Block& block, const Activations& x, int t, int b,
                                     int64_t* sums) {
    multiply<N>(block, block.factors, x, t, b, sums);
  }
};

// The kernel of drive.h. One token, up to 10 bits: straight from registers; the rest by way of a
// Block, which keeps the code small.
template <class V, Kind kKind, int kDigits, bool kWide>
struct DotKernel : DotProduct<V, kDigits, kWide> {
  using Product = DotProduct<V, kDigits, kWide>;
  using Block = typename Product::Block;
  using Product::kParts;
  using Product::kPartBytes;

  HARDCAST_SHARED static void open(const PackedMatrix& matrix, const uint8_t* record,
                                   Block& block) {
    block.factors = factors(matrix, record);
    for (int p = 0; p < kParts; ++p) {
      Levels<V, kKind> levels;
      levels.begin(matrix);
      each_four<V>([&](int q) {
        V::store(block.levels + 64 * q + kPartBytes * p, levels.four(record + kPartBytes * p, q));
      });
    }
  }

  template <int N>
  static void packed(const PackedMatrix& matrix, const uint8_t* record, const Activations& x,
                     int t, int b, int64_t* sums) {
    if constexpr (N == 1 && !kWide && V::kInRegisters) {
      Packed source(matrix, record);
      Product::template multiply<N>(source, factors(matrix, record), x, t, b, sums);
    } else {
      Block block;
      open(matrix, record, block);
      opened<N>(block, x, t, b, sums);
    }
  }

  template <int N>
  static void opened(const Block& block, const Activations& x, int t, int b, int64_t* sums) {
    Product::template opened<N>(block, x, t, b, sums);
  }

  static void finish(int64_t*) {}  // lanes are rows already

 private:
  struct Packed {
    const uint8_t* record;
    Levels<V, kKind> levels[kParts];

    static constexpr bool kInOrder = true;
    Packed(const PackedMatrix& matrix, const uint8_t* at) : record(at) {
      for (auto& part : levels) part.begin(matrix);
    }
    typename V::Vector four(int q, int p) { return levels[p].four(record + kPartBytes * p, q); }
  };

  static typename Product::Factors factors(const PackedMatrix& matrix, const uint8_t* record) {
    const uint8_t* const scales = record + code_bytes(kKind);
    const auto* const offsets = reinterpret_cast<const int16_t*>(scales + 32);
    // A path with signed codes meets levels that may exceed 127 as level - 128.
    const bool any_byte = kKind != Kind::U4 && kKind != Kind::U6;
    return {scales, matrix.has_offsets ? offsets : nullptr,
            matrix.zero + (any_byte && V::kSignedCodes ? 128 : 0)};
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
  switch (matrix.kind) {
    case Kind::L3: return dot_multiply_kind<V, Kind::L3>(matrix, x, begin, end, sink);
    case Kind::U4: return dot_multiply_kind<V, Kind::U4>(matrix, x, begin, end, sink);
    case Kind::L4: return dot_multiply_kind<V, Kind::L4>(matrix, x, begin, end, sink);
    case Kind::U6: return dot_multiply_kind<V, Kind::U6>(matrix, x, begin, end, sink);
    case Kind::U8: return dot_multiply_kind<V, Kind::U8>(matrix, x, begin, end, sink);
  }
}

}  // namespace
}  // namespace hardcast
