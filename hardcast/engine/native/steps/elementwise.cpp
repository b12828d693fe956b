#include "steps/elementwise.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "fixed.h"
#include "steps/quantize.h"

namespace hardcast {

namespace {

constexpr int kFine = 128;  // positions a coarse step of the RoPE ROM
constexpr int kTableBits = 14;
constexpr int kGateBits = 12;

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

void gate_times(const Points& p, const GateTable& gate, const int32_t* g, const int32_t* u, int n,
                int64_t* f) {
  const int32_t* const table = gate.entries.data();
  const int entry_bits = p.gate + gate.range_bits - kGateIndexBits;
  const int32_t most = 1 << (p.gate + gate.range_bits);
  const int32_t entry_half = (1 << entry_bits) >> 1;
  const int silu_shift = kGateBits + p.gate - p.silu;
  const int f_shift = p.silu + p.gate - p.f;
  for (int i = 0; i < n; ++i) {
    const int64_t wide = g[i] < 0 ? -static_cast<int64_t>(g[i]) : g[i];
    const int32_t size = static_cast<int32_t>(wide < most ? wide : most);
    const int32_t index = size >> entry_bits, rest = size & ((1 << entry_bits) - 1);
    const int32_t step = table[index + 1] - table[index];
    int32_t t = table[index] + ((step * rest + entry_half) >> entry_bits);
    t = g[i] < 0 ? (1 << kGateBits) - t : t;
    const int64_t silu = rs(static_cast<int64_t>(g[i]) * t, silu_shift);
    f[i] = rs(silu * u[i], f_shift);
  }
}

#if defined(__x86_64__)
// rs(x, shift) of int64 lanes, |x| <= 2^62: adding 2^62 makes x unsigned, since AVX2 has only the
// logical shift; being a multiple of 2^shift it leaves again exactly.
__attribute__((target("avx2"))) inline __m256i rounded(__m256i x, int shift) {
  const __m128i count = _mm_cvtsi32_si128(shift);
  const __m256i in = _mm256_set1_epi64x((int64_t{1} << 62) + ((int64_t{1} << shift) >> 1));
  const __m256i out = _mm256_set1_epi64x((int64_t{1} << 62) >> shift);
  return _mm256_sub_epi64(_mm256_srl_epi64(_mm256_add_epi64(x, in), count), out);
}

// The first n / 8 * 8 elements; returns how many. Needs silu to fit int32 (p.gate >= p.silu).
__attribute__((target("avx2"))) int gate_times_avx2(const Points& p, const GateTable& own,
                                                    const int32_t* g, const int32_t* u, int n,
                                                    int64_t* f) {
  const int32_t* const table = own.entries.data();
  const int entry_bits = p.gate + own.range_bits - kGateIndexBits;
  const __m128i entry_shift = _mm_cvtsi32_si128(entry_bits);
  const __m256i most = _mm256_set1_epi32(1 << (p.gate + own.range_bits));
  const __m256i rest_mask = _mm256_set1_epi32((1 << entry_bits) - 1);
  const __m256i entry_half = _mm256_set1_epi32((1 << entry_bits) >> 1);
  const __m256i one = _mm256_set1_epi32(1 << kGateBits);
  const int silu_shift = kGateBits + p.gate - p.silu;
  const int f_shift = p.silu + p.gate - p.f;
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i gate = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(g + i));
    const __m256i up = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(u + i));
    const __m256i size = _mm256_min_epu32(_mm256_abs_epi32(gate), most);  // |-2^31| is unsigned
    const __m256i index = _mm256_srl_epi32(size, entry_shift);
    const __m256i low = _mm256_i32gather_epi32(table, index, 4);
    const __m256i high = _mm256_i32gather_epi32(table + 1, index, 4);
    const __m256i part =
        _mm256_mullo_epi32(_mm256_sub_epi32(high, low), _mm256_and_si256(size, rest_mask));
    __m256i t = _mm256_add_epi32(
        low, _mm256_sra_epi32(_mm256_add_epi32(part, entry_half), entry_shift));
    const __m256i negative = _mm256_srai_epi32(gate, 31);
    t = _mm256_blendv_epi8(t, _mm256_sub_epi32(one, t), negative);
    // Even elements lie in the low halves of the 64-bit lanes, odd ones are shifted down to them.
    const __m256i even_silu = rounded(_mm256_mul_epi32(gate, t), silu_shift);
    const __m256i odd_silu = rounded(
        _mm256_mul_epi32(_mm256_srli_epi64(gate, 32), _mm256_srli_epi64(t, 32)), silu_shift);
    const __m256i even = rounded(_mm256_mul_epi32(even_silu, up), f_shift);
    const __m256i odd =
        rounded(_mm256_mul_epi32(odd_silu, _mm256_srli_epi64(up, 32)), f_shift);
    const __m256i first = _mm256_unpacklo_epi64(even, odd);   // elements 0 1 | 4 5
    const __m256i second = _mm256_unpackhi_epi64(even, odd);  // elements 2 3 | 6 7
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(f + i),
                        _mm256_permute2x128_si256(first, second, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(f + i + 4),
                        _mm256_permute2x128_si256(first, second, 0x31));
  }
  return i;
}
#endif

}  // namespace

void rope_angles(const Model& model, const RopeTable& table, int position, int32_t* cosine,
                 int32_t* sine) {
  const int half = model.shape.head_dim / 2;
  const size_t row = static_cast<size_t>(half) * 2;
  const int16_t* const coarse = table.coarse.data() + position / kFine * row;
  const int16_t* const fine = table.fine.data() + position % kFine * row;
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

void unturned_head(const Model& model, int32_t* x) {
  const int shift = kTableBits + model.points.qk - model.points.rope;
  for (int i = 0; i < model.shape.head_dim; ++i) {
    x[i] = static_cast<int32_t>(rs(int64_t{x[i]} << kTableBits, shift));
  }
}

void gate_block(const Model& model, const GateTable& gate, const int32_t* g, const int32_t* u,
                int bits, int token, int block, ActivationBuffer& out) {
  const int first = block * kBlock;
  const int count = std::min(kBlock, model.shape.intermediate_size - first);
  int64_t f[kBlock];
  int done = 0;
#if defined(__x86_64__)
  if (model.path->avx2 && model.points.gate >= model.points.silu) {
    done = gate_times_avx2(model.points, gate, g + first, u + first, count, f);
  }
#endif
  gate_times(model.points, gate, g + first + done, u + first + done, count - done, f + done);
  const int exponent = quantize_block(f, count, bits, out.x(token) + first);
  out.exponents(token)[block] = static_cast<uint8_t>(exponent);
  out.finish(token, token + 1, block, block + 1);
}

}  // namespace hardcast
