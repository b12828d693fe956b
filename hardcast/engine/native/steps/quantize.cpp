#include "steps/quantize.h"

#include "fixed.h"

namespace hardcast {

namespace {

template <class In, class Out>
inline __attribute__((always_inline)) int quantize(const In* x, int n, int bits, int magnitude,
                                                   Out* codes) {
  constexpr int kSign = 8 * sizeof(In) - 1;
  In all = 0;
  for (int i = 0; i < n; ++i) all |= x[i] ^ (x[i] >> kSign);
  int s = block_exponent(static_cast<uint64_t>(all), bits);
  s = s < magnitude - (bits - 1) ? s : magnitude - (bits - 1);
  const int64_t half = (int64_t{1} << s) >> 1;
  const int64_t top = int64_t{1} << (bits - 1);
  for (int i = 0; i < n; ++i) {
    int64_t code = (x[i] + half) >> s;
    code = code < top - 1 ? code : top - 1;
    codes[i] = static_cast<Out>(code > -top ? code : -top);
  }
  return s;
}

}  // namespace

HARDCAST_CLONES int quantize_block(const int64_t* x, int n, int bits, int16_t* codes) {
  return quantize(x, n, bits, kMagnitudeBits, codes);
}

HARDCAST_CLONES int quantize_block(const int32_t* x, int n, int bits, int16_t* codes) {
  return quantize(x, n, bits, kMagnitudeBits, codes);
}

HARDCAST_CLONES int quantize_head(const int32_t* x, int n, int8_t* codes) {
  return quantize(x, n, kHeadBits, kHeadMagnitudeBits, codes);
}

}  // namespace hardcast
