#include "elementwise.h"

#include <algorithm>

#include "fixed.h"
#include "quantize.h"

namespace hardcast {

namespace {

constexpr int kFine = 128;  // positions a coarse step of the RoPE ROM
constexpr int kTableBits = 14;
constexpr int kSigmoidBits = 12;
constexpr int kSigmoidRange = 8;    // |g| is clamped to it
constexpr int kSigmoidStepBits = 3;  // 8 entries a unit

// Products are at most 2^31 * 2^15: int64.
HARDCAST_CLONES void rotate(const int32_t* cosine, const int32_t* sine, int half, int shift,
                            int32_t* x) {
  const int64_t round = (int64_t{1} << shift) >> 1;
  for (int i = 0; i < half; ++i) {
    const int64_t a = x[i], b = x[half + i];
    x[i] = static_cast<int32_t>((a * cosine[i] - b * sine[i] + round) >> shift);
    x[half + i] = static_cast<int32_t>((a * sine[i] + b * cosine[i] + round) >> shift);
  }
}

HARDCAST_CLONES void silu_times(const Points& p, const int32_t* table, const int32_t* g,
                                const int32_t* u, int n, int64_t* f) {
  const int entry_bits = p.gate - kSigmoidStepBits;
  const int32_t most = kSigmoidRange << p.gate;
  const int32_t entry_half = (1 << entry_bits) >> 1;
  const int silu_shift = kSigmoidBits + p.gate - p.silu;
  const int f_shift = p.silu + p.gate - p.f;
  for (int i = 0; i < n; ++i) {
    const int64_t wide = g[i] < 0 ? -static_cast<int64_t>(g[i]) : g[i];
    const int32_t size = static_cast<int32_t>(wide < most ? wide : most);
    const int32_t index = size >> entry_bits, rest = size & ((1 << entry_bits) - 1);
    const int32_t step = table[index + 1] - table[index];
    int32_t t = table[index] + ((step * rest + entry_half) >> entry_bits);
    t = g[i] < 0 ? (1 << kSigmoidBits) - t : t;
    const int64_t silu = rs(static_cast<int64_t>(g[i]) * t, silu_shift);
    f[i] = rs(silu * u[i], f_shift);
  }
}

}  // namespace

void rope_angles(const Model& model, int position, int32_t* cosine, int32_t* sine) {
  const int half = model.shape.head_dim / 2;
  const size_t row = static_cast<size_t>(half) * 2;
  const int16_t* const coarse = model.rope_coarse.data() + position / kFine * row;
  const int16_t* const fine = model.rope_fine.data() + position % kFine * row;
  for (int i = 0; i < half; ++i) {
    const int64_t cc = coarse[2 * i], sc = coarse[2 * i + 1];
    const int64_t cf = fine[2 * i], sf = fine[2 * i + 1];
    cosine[i] = static_cast<int32_t>(rs(cc * cf - sc * sf, kTableBits));
    sine[i] = static_cast<int32_t>(rs(sc * cf + cc * sf, kTableBits));
  }
}

void rope_head(const Model& model, const int32_t* cosine, const int32_t* sine, int32_t* x) {
  const int shift = kTableBits + model.points.qk - model.points.rope;
  rotate(cosine, sine, model.shape.head_dim / 2, shift, x);
}

void gate_block(const Model& model, const int32_t* g, const int32_t* u, int bits, int token,
                int block, ActivationBuffer& out) {
  const int first = block * kBlock;
  const int count = std::min(kBlock, model.shape.intermediate_size - first);
  int64_t f[kBlock];
  silu_times(model.points, model.sigmoid.data(), g + first, u + first, count, f);
  const int exponent = quantize_block(f, count, bits, out.x(token) + first);
  out.exponents(token)[block] = static_cast<uint8_t>(exponent);
  out.finish(token, token + 1, block, block + 1);
}

}  // namespace hardcast
