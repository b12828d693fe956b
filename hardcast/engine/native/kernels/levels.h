// From packed codes to levels, four columns of every row of a vector at a time. Included by the
// kernels_*.cpp only; packed_matrix.h states the layouts.
//
// V works on vectors of bytes, four a row:
//
//   load(at)           as it is stored            masked(v, bits)   v & bits, in each byte
//   bytes(at)          levels up to 255           shifted<n>(v)     v >> n within bytes or wider
//   table(levels[16])  for lookup                 either(a, b)      a | b
//   lookup(table, v)   the entry of each byte's low four bits; its top bit is 0, the rest is free
//   kInRegisters       whether a V is a register

#pragma once

#include "packed_matrix.h"

namespace hardcast {
namespace {

// f(q) for q = 0..15; q is a constant where V is a register and Levels keeps registers.
template <class V, class F>
inline void each_four(F&& f) {
  if constexpr (V::kInRegisters) {
#pragma GCC unroll 16
    for (int q = 0; q < 16; ++q) f(q);
  } else {
    for (int q = 0; q < 16; ++q) f(q);
  }
}

template <class V, Kind kKind>
class Levels {
 public:
  using Vector = typename V::Vector;

  void begin(const PackedMatrix& matrix) {
    if constexpr (kKind == Kind::L3 || kKind == Kind::L4) table_ = V::table(matrix.table);
    if constexpr (kKind == Kind::L3) doubled_ = V::table(matrix.doubled);
  }

  // Levels of columns 4q .. 4q+3. codes: the record, or where V's rows begin in its first vector.
  // After begin(), ask for q = 0, 1, 2 ...: columns share bytes with those before, kept here.
  Vector four(const uint8_t* codes, int q) {
    if constexpr (kKind == Kind::L3) return three_bits(codes, q);
    if constexpr (kKind == Kind::U4) return nibble(codes, q);
    if constexpr (kKind == Kind::L4) return V::lookup(table_, nibble(codes, q));
    if constexpr (kKind == Kind::U6) return six_bits(codes, q);
    if constexpr (kKind == Kind::U8) return V::bytes(codes + 64 * q);
  }

 private:
  Vector table_{}, doubled_{}, held_[3]{}, clean_{};

  Vector nibble(const uint8_t* codes, int q) {
    held_[0] = q % 2 == 0 ? V::load(codes + 32 * q) : V::template shifted<4>(held_[0]);
    return V::masked(held_[0], 0x0f);
  }

  Vector six_bits(const uint8_t* codes, int q) {
    const int v = q % 4;
    if (v < 3) {
      held_[v] = V::load(codes + 192 * (q / 4) + 64 * v);
      return V::masked(held_[v], 0x3f);
    }
    const Vector low = V::masked(V::template shifted<6>(held_[0]), 0x03);
    const Vector middle = V::masked(V::template shifted<4>(held_[1]), 0x0c);
    const Vector high = V::masked(V::template shifted<2>(held_[2]), 0x30);
    return V::either(V::either(low, middle), high);
  }

  Vector three_bits(const uint8_t* codes, int q) {
    const int v = q % 8 / 2;
    if (v < 3) {
      if (q % 2 == 0) {
        held_[v] = V::load(codes + 192 * (q / 8) + 64 * v);
        clean_ = V::masked(held_[v], 0x77);
        return V::lookup(table_, clean_);
      }
      return V::lookup(table_, V::template shifted<4>(clean_));
    }
    if (q % 2 == 0) {  // bits 1..3 of clean_: one code; bits 5..7: the next
      const Vector middle = V::template shifted<1>(V::masked(held_[1], 0x88));
      const Vector low = V::template shifted<2>(V::masked(held_[2], 0x88));
      clean_ = V::either(V::either(V::masked(held_[0], 0x88), middle), low);
      return V::lookup(doubled_, V::masked(clean_, 0x0f));
    }
    return V::lookup(doubled_, V::masked(V::template shifted<4>(clean_), 0x0f));
  }
};

}  // namespace
}  // namespace hardcast
