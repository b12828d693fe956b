#include "steps/norm.h"

#include <algorithm>

#include "fixed.h"
#include "steps/quantize.h"

namespace hardcast {

namespace {

HARDCAST_CLONES void scale_block(const int32_t* x, const int32_t* gain, int n, int shift,
                                 int64_t* out) {
  const int64_t half = (int64_t{1} << shift) >> 1;
  for (int i = 0; i < n; ++i) out[i] = (static_cast<int64_t>(x[i]) * gain[i] + half) >> shift;
}

// Sum of squares of one block's codes; *exponent is that of the 16-bit codes.
HARDCAST_CLONES uint64_t block_squares(const int32_t* x, int n, int* exponent) {
  uint32_t all = 0;
  for (int i = 0; i < n; ++i) all |= static_cast<uint32_t>(x[i] ^ (x[i] >> 31));
  const int s = block_exponent(all, 16);
  const int64_t half = (int64_t{1} << s) >> 1;
  int64_t sum = 0;
  for (int i = 0; i < n; ++i) {
    int32_t code = static_cast<int32_t>((x[i] + half) >> s);
    code = code < 32767 ? code : 32767;
    sum += static_cast<uint32_t>(code * code);
  }
  *exponent = s;
  return static_cast<uint64_t>(sum);
}

int bit_length128(unsigned __int128 v) {
  const uint64_t high = static_cast<uint64_t>(v >> 64);
  return high != 0 ? 64 + bit_length(high) : bit_length(static_cast<uint64_t>(v));
}

}  // namespace

unsigned __int128 sum_of_squares(const int32_t* x, int n) {
  unsigned __int128 total = 0;
  for (int first = 0; first < n; first += kBlock) {
    int exponent = 0;
    const uint64_t sum = block_squares(x + first, std::min(kBlock, n - first), &exponent);
    total += static_cast<unsigned __int128>(sum) << (2 * exponent);
  }
  return total;
}

Rsqrt rsqrt(unsigned __int128 energy, const int32_t* table) {
  const int h = 2 * ((bit_length128(energy) + 1) / 2) - 32;
  const uint64_t w = static_cast<uint64_t>(h >= 0 ? energy >> h : energy << -h);
  const int index = static_cast<int>(w >> 27) - 8;
  const int64_t fraction = static_cast<int64_t>(w >> 15) & 4095;
  const int64_t step = table[index] - table[index + 1];
  return {static_cast<int32_t>(table[index] - rs(step * fraction, 12)), h / 2};
}

Scale norm(const Model& model, const int32_t* gain, int64_t epsilon, const int32_t* x, int bits,
           int token, ActivationBuffer& out) {
  const int n = model.shape.hidden_size;
  const int shift = model.points.gain - model.points.norm_extra;
  int largest = 0;
  for (int first = 0, block = 0; first < n; first += kBlock, ++block) {
    const int count = std::min(kBlock, n - first);
    int64_t scaled[kBlock];
    scale_block(x + first, gain + first, count, shift, scaled);
    const int exponent = quantize_block(scaled, count, bits, out.x(token) + first);
    out.exponents(token)[block] = static_cast<uint8_t>(exponent);
    largest = std::max(largest, exponent);
  }
  unsigned __int128 energy = sum_of_squares(x, n) + static_cast<uint64_t>(epsilon);
  const Rsqrt root = rsqrt(energy != 0 ? energy : 1, model.rsqrt.data());
  out.finish(token, token + 1, 0, out.view().blocks);
  return {root.r, model.points.norm_extra + kRsqrtFraction + root.halfshift, largest};
}

Scale quantize(const Model& model, const int32_t* x, int bits, int token, ActivationBuffer& out) {
  const int n = model.shape.hidden_size;
  int largest = 0;
  for (int first = 0, block = 0; first < n; first += kBlock, ++block) {
    const int exponent =
        quantize_block(x + first, std::min(kBlock, n - first), bits, out.x(token) + first);
    out.exponents(token)[block] = static_cast<uint8_t>(exponent);
    largest = std::max(largest, exponent);
  }
  out.finish(token, token + 1, 0, out.view().blocks);
  return {1, model.points.residual, largest};
}

void head_norm(const Model& model, const int32_t* gain, int64_t epsilon, int n, int point,
               int32_t* x) {
  unsigned __int128 energy = sum_of_squares(x, n) + static_cast<uint64_t>(epsilon);
  const Rsqrt root = rsqrt(energy != 0 ? energy : 1, model.rsqrt.data());
  const int first = kRsqrtFraction + root.halfshift - model.points.normed;
  const int second = model.points.normed + model.points.gain - point;
  for (int i = 0; i < n; ++i) {
    const int64_t normed = rescale(static_cast<int64_t>(x[i]) * root.r, first);
    x[i] = saturate32(rs(normed * gain[i], second));
  }
}

}  // namespace hardcast
