// The chip's integer arithmetic (numerics/fixed.py), for scalars.

#pragma once

#include <cstdint>

// Plain integer loops, compiled once more for AVX2 and chosen by the loader. The results are the
// same integers; kernels proper choose their instruction set in dispatch.cpp.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define HARDCAST_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define HARDCAST_CLONES
#endif

namespace hardcast {

constexpr int kMostShift = 62;  // rescale() clamps its shift to -31..62
constexpr int kLeastShift = -31;

// floor((x + 2^(k-1)) / 2^k): half up. 0 <= k <= 62.
inline int64_t rs(int64_t x, int k) { return (x + ((int64_t{1} << k) >> 1)) >> k; }

inline int clamp_shift(int k) {
  return k > kMostShift ? kMostShift : k < kLeastShift ? kLeastShift : k;
}

// rs for k >= 0, a left shift for k < 0.
inline int64_t rescale(int64_t x, int k) {
  k = clamp_shift(k);
  return k >= 0 ? rs(x, k) : static_cast<int64_t>(static_cast<uint64_t>(x) << -k);
}

inline int32_t saturate32(int64_t x) {
  return static_cast<int32_t>(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}

inline int bit_length(uint64_t x) { return x == 0 ? 0 : 64 - __builtin_clzll(x); }

// Exponent of a block whose magnitudes OR to `all`, for codes of `bits` bits.
inline int block_exponent(uint64_t all, int bits) {
  const int excess = bit_length(all) - (bits - 1);
  return excess > 0 ? excess : 0;
}

}  // namespace hardcast
