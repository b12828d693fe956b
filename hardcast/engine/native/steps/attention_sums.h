// The two sums of attention: scores of a query with cached keys, and values weighted by terms.

// avx2: whether the engine's path may use it; the integers are the same.

#pragma once

#include <cstdint>
#include <vector>

namespace hardcast {

// dots[i] = q . keys[i]: q int16[dim] of int8 range, keys int8[rows][dim].
void dot_rows(bool avx2, const int16_t* q, const int8_t* keys, int dim, int rows,
              int32_t* dots);

// Two rows that meet in one multiply-add, and their weights.
struct RowPair {
  int32_t row[2];
  int32_t shift[2];  // of the values, where the weight alone cannot carry the exponent
  int16_t weight[2];
};

// total[d] += sum over rows of (p << exponent) * value[d], exact. 0 <= p < 2^12, exponents 0..15,
// values int8[rows][dim]; total int64[dim]; pairs: scratch that grows.
void weighted_sum(bool avx2, const int32_t* p, const uint8_t* exponents, const int8_t* values,
                  int dim, int rows, std::vector<RowPair>& pairs, int64_t* total);

}  // namespace hardcast
