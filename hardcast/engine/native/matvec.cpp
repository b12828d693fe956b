#include "matvec.h"

#include <algorithm>

#include "fixed.h"

namespace hardcast {

namespace {

// y[i] = rescale(rs(sums[i], drop) * multiplier[i] * r, shift[i] + scale): one tile of one token.
// |rs(sums, drop)| <= 2^37, M < 2^8, r <= 2^16: the product is below 2^62, so adding 2^62 makes it
// unsigned and a logical shift will do.
HARDCAST_CLONES void finish_tile(const int64_t* sums, const int32_t* multiplier,
                                 const int32_t* shift, int drop, int64_t r, int scale,
                                 const int32_t* bias, int32_t* y) {
  const int64_t drop_half = (int64_t{1} << drop) >> 1;
  constexpr uint64_t kOffset = uint64_t{1} << 62;
  for (int i = 0; i < kTileRows; ++i) {
    const int64_t t = (sums[i] + drop_half) >> drop;
    const int64_t product = t * (multiplier[i] * r);
    int k = shift[i] + scale;
    k = k > kMostShift ? kMostShift : k;
    k = k < kLeastShift ? kLeastShift : k;
    const int right = k > 0 ? k : 0, left = k < 0 ? -k : 0;
    const uint64_t half = (uint64_t{1} << right) >> 1;
    const uint64_t moved = (static_cast<uint64_t>(product) + kOffset + half) >> right;
    const int64_t value = static_cast<int64_t>((moved - (kOffset >> right)) << left) + bias[i];
    const int64_t capped = value < INT32_MAX ? value : INT32_MAX;
    y[i] = static_cast<int32_t>(capped > INT32_MIN ? capped : INT32_MIN);
  }
}

}  // namespace

void matvec(const Model& model, const Matrix& matrix, const Activations& x,
            const Scale* scales, int point_in, int point_out, const int32_t* bias,
            int tile_begin, int tile_end, int32_t* out) {
  const int rows = matrix.packed.rows;
  static const int32_t kNoBias[kTileRows] = {};
  auto sink = [&](int tile, int token_begin, int tokens, const int64_t* sums) {
    const int first = tile * kTileRows, count = std::min(kTileRows, rows - first);
    for (int t = 0; t < tokens; ++t) {
      const Scale& s = scales[token_begin + t];
      const int drop =
          std::max(s.largest_exponent + matrix.sum_bits + x.bits - 1 - kProductBits, 0);
      const int scale = point_in + s.fraction - drop - point_out;
      int32_t y[kTileRows];
      finish_tile(sums + t * kTileRows, matrix.multiplier.data() + first,
                  matrix.shift.data() + first, drop, s.r, scale,
                  bias != nullptr ? bias + first : kNoBias, y);
      std::copy_n(y, count, out + static_cast<size_t>(token_begin + t) * rows + first);
    }
  };
  model.path->multiply(matrix.packed, x, tile_begin, tile_end, make_sink(sink));
}

}  // namespace hardcast
