#include "activations.h"

#include <cstring>

#include "packed_matrix.h"

namespace hardcast {

// Why 10 bits bound an int32 block sum P = sum_g scale_g sum v x + offset_g sum x, whose weights
// hold |v| <= 128, scale <= 255, |offset| <= 32768:
//   |P| <= 64 * 512 * (255 * 128 + 32768) = 2 143 289 344 < 2^31.
// Intermediate int32 values may wrap; the final one cannot, so modular arithmetic is exact.
void ActivationBuffer::resize(int tokens, int cols, int bits, int max_exponent) {
  const int blocks = (cols + kBlock - 1) / kBlock;
  const int stride = blocks * kBlock;
  const size_t elements = static_cast<size_t>(tokens) * stride;
  const size_t groups = static_cast<size_t>(tokens) * blocks * 2;
  grow(x_, elements);
  grow(low_, elements);
  const bool wide = bits > 10 || max_exponent > 30;
  const bool split = bits > 8 || wide;
  if (split) grow(high_, elements);
  const bool spread = tokens == 1 && !split;
  if (spread) grow(spread_, 8 * elements);
  grow(sums_, groups);
  grow(sum_pairs_, groups);
  grow(exponents_, groups / 2);
  grow(powers_, groups / 2);
  for (int t = 0; t < tokens; ++t) {
    int16_t* const row = x_.data() + static_cast<size_t>(t) * stride;
    std::memset(row + cols, 0, sizeof(int16_t) * (stride - cols));
  }
  view_.tokens = tokens;
  view_.blocks = blocks;
  view_.stride = stride;
  view_.bits = bits;
  view_.wide = wide;
  view_.x = x_.data();
  view_.low = low_.data();
  view_.high = split ? high_.data() : nullptr;
  view_.spread = spread ? spread_.data() : nullptr;
  view_.sums = sums_.data();
  view_.sum_pairs = sum_pairs_.data();
  view_.exponents = exponents_.data();
  view_.powers = powers_.data();
}

void ActivationBuffer::finish(int token_begin, int token_end, int block_begin, int block_end) {
  for (int t = token_begin; t < token_end; ++t) {
    for (int b = block_begin; b < block_end; ++b) {
      const size_t first = static_cast<size_t>(t) * view_.stride + b * kBlock;
      const int16_t* const x = x_.data() + first;
      int8_t* const low = low_.data() + first;
      if (view_.high == nullptr) {
        for (int i = 0; i < kBlock; ++i) low[i] = static_cast<int8_t>(x[i]);
      } else {
        int8_t* const high = high_.data() + first;
        const int digit = view_.wide ? kWideDigit : kNarrowDigit;
        const int half = view_.wide ? 0 : 1 << (kNarrowDigit - 1);
        for (int i = 0; i < kBlock; ++i) {
          const int upper = (x[i] + half) >> digit;
          high[i] = static_cast<int8_t>(upper);
          low[i] = static_cast<int8_t>(x[i] - (upper << digit));
        }
      }
      if (view_.spread != nullptr) {
        int8_t* out = spread_.data() + 8 * first;
        for (int i = 0; i < kBlock; i += 4) {
          for (int copy = 0; copy < 8; ++copy, out += 4) std::memcpy(out, low + i, 4);
        }
      }
      powers_[view_.at(t, b)] = static_cast<int32_t>(uint32_t{1} << exponents_[view_.at(t, b)]);
      for (int g = 0; g < 2; ++g) {
        int32_t sum = 0;
        for (int i = 0; i < kGroup; ++i) sum += x[g * kGroup + i];
        const size_t at = view_.at(t, b) * 2 + g;
        sums_[at] = sum;
        sum_pairs_[at] = static_cast<int16_t>(sum);  // |sum| <= 32 * 512 unless wide
      }
    }
  }
}

}  // namespace hardcast
