// NORM, QUANTIZE and HEAD_NORM: what MATVECs read of x; reciprocal root mean square in integers.

#pragma once

#include <cstdint>
#include <vector>

#include "activations.h"
#include "model.h"

namespace hardcast {

// 1/sqrt(V) ~ r * 2^-(31 + halfshift).
struct Rsqrt {
  int32_t r = 0;
  int32_t halfshift = 0;
};

Rsqrt rsqrt(unsigned __int128 energy, const int32_t* table);

// Exact sum over blocks of 64 of the squares of the block's 16-bit codes, each << 2 exponent.
unsigned __int128 sum_of_squares(const int32_t* x, int n);

// What MATVEC needs of one token besides its blocks: the value is blocks * r * 2^-fraction.
// Plain blocks have r = 1 and the binary point of their buffer as fraction; after a NORM it is
// norm_extra + 31 + halfshift.
struct Scale {
  int32_t r = 1, fraction = 0, largest_exponent = 0;
};

// golden/steps.py norm(): writes the codes and exponents of `token`. x: int32[hidden_size].
Scale norm(const Model& model, const int32_t* gain, int64_t epsilon, const int32_t* x, int bits,
           int token, ActivationBuffer& out);

// QUANTIZE: the same for the blocks of x as it is.
Scale quantize(const Model& model, const int32_t* x, int bits, int token, ActivationBuffer& out);

// golden/steps.py head_norm() of one part (a head), in place. x: int32[n] at `point`.
void head_norm(const Model& model, const int32_t* gain, int64_t epsilon, int n, int point,
               int32_t* x);

}  // namespace hardcast
