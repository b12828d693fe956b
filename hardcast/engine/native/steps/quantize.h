// The block quantiser (numerics/blocks.py): codes that share one power-of-two exponent.

#pragma once

#include <cstdint>

namespace hardcast {

constexpr int kMagnitudeBits = 37;      // larger values clamp
constexpr int kHeadBits = 8;            // of q, k and v: one block a head
constexpr int kHeadMagnitudeBits = 22;  // of q, k and v

// x: int64[n] or int32[n]; codes: [n] of `bits` bits. Returns the exponent.
int quantize_block(const int64_t* x, int n, int bits, int16_t* codes);
int quantize_block(const int32_t* x, int n, int bits, int16_t* codes);

// One head: int8 codes.
int quantize_head(const int32_t* x, int n, int8_t* codes);

}  // namespace hardcast
