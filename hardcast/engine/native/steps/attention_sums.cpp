#include "steps/attention_sums.h"

#include <algorithm>
#include <cstring>

#include "fixed.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hardcast {

namespace {

// A weight p << k is carried as (p << min(k, 3)) * 2^rest: p < 2^12 keeps it in int16, and the rest
// goes to the value, whose 8 bits have room for 8 more.
constexpr int kWeightShift = 3;
constexpr int kMostValueShift = kWeightShift + 8;  // of a row beyond the least exponent
// A pair's products are added in int32 for as long as this budget proves that they fit.
constexpr int64_t kBudget = int64_t{1} << 31;
// Rows whose exponents are within kWeightShift of one another need no shifts, and this many of
// them no count: 2^6 * 2^12 * 2^3 * 2^7 is far below the budget.
constexpr int kRun = 64;

using AddPairs = void (*)(const RowPair* pairs, int count, const int8_t* values, int dim, int base,
                          int64_t* total);

void dot_rows_portably(const int16_t* q, const int8_t* keys, int dim, int rows, int32_t* dots) {
  for (int i = 0; i < rows; ++i) {
    const int8_t* const key = keys + static_cast<size_t>(i) * dim;
    int32_t sum = 0;
    for (int d = 0; d < dim; ++d) sum += static_cast<int32_t>(q[d]) * key[d];
    dots[i] = sum;
  }
}

// total[first..dim) += sum over pairs << base.
void add_columns(const RowPair* pairs, int count, const int8_t* values, int first, int dim,
                 int base, int64_t* total) {
  for (int d = first; d < dim; ++d) {
    int64_t sum = 0;
    for (int i = 0; i < count; ++i) {
      for (int side = 0; side < 2; ++side) {
        const int64_t value = values[static_cast<size_t>(pairs[i].row[side]) * dim + d];
        sum += value * (int64_t{pairs[i].weight[side]} << pairs[i].shift[side]);
      }
    }
    total[d] += sum * (int64_t{1} << base);
  }
}

void add_pairs_portably(const RowPair* pairs, int count, const int8_t* values, int dim, int base,
                        int64_t* total) {
  add_columns(pairs, count, values, 0, dim, base, total);
}

void add_run_portably(const int16_t* weights, int rows, const int8_t* values, int first, int dim,
                      int base, int64_t* total) {
  for (int d = first; d < dim; ++d) {
    int32_t sum = 0;
    for (int i = 0; i < rows; ++i) sum += weights[i] * values[static_cast<size_t>(i) * dim + d];
    total[d] += int64_t{sum} * (int64_t{1} << base);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) inline __m256i widened(const int8_t* sixteen) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen)));
}

// kParts: 16-column parts that stay in registers; any columns past them are added one by one.
template <int kParts>
__attribute__((target("avx2"))) void dot_rows_of(const int16_t* q, const int8_t* keys, int dim,
                                                 int rows, int32_t* dots) {
  __m256i part[kParts];
  for (int c = 0; c < kParts; ++c) {
    part[c] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + 16 * c));
  }
  int i = 0;
  for (; i + 4 <= rows; i += 4) {
    const int8_t* const key = keys + static_cast<size_t>(i) * dim;
    __m256i sum[4];
    for (int r = 0; r < 4; ++r) sum[r] = _mm256_madd_epi16(part[0], widened(key + r * dim));
    for (int c = 1; c < kParts; ++c) {
      for (int r = 0; r < 4; ++r) {
        const __m256i product = _mm256_madd_epi16(part[c], widened(key + r * dim + 16 * c));
        sum[r] = _mm256_add_epi32(sum[r], product);
      }
    }
    const __m256i halves = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]),
                                             _mm256_hadd_epi32(sum[2], sum[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dots + i),
                     _mm_add_epi32(_mm256_castsi256_si128(halves),
                                   _mm256_extracti128_si256(halves, 1)));
    for (int r = 0; r < 4; ++r) {
      for (int d = 16 * kParts; d < dim; ++d) {
        dots[i + r] += static_cast<int32_t>(q[d]) * key[r * dim + d];
      }
    }
  }
  dot_rows_portably(q, keys + static_cast<size_t>(i) * dim, dim, rows - i, dots + i);
}

void dot_rows_avx2(const int16_t* q, const int8_t* keys, int dim, int rows, int32_t* dots) {
  if (dim < 16) return dot_rows_portably(q, keys, dim, rows, dots);
  if (dim < 64) return dot_rows_of<1>(q, keys, dim, rows, dots);
  if (dim < 128) return dot_rows_of<4>(q, keys, dim, rows, dots);
  dot_rows_of<8>(q, keys, dim, rows, dots);
}

__attribute__((target("avx2"))) void add_pairs_avx2(const RowPair* pairs, int count,
                                                    const int8_t* values, int dim, int base,
                                                    int64_t* total) {
  int first = 0;
  for (; first + 32 <= dim; first += 32) {
    __m256i sum[4];  // columns 0-3 8-11, 4-7 12-15, and the same of the next 16
    for (auto& s : sum) s = _mm256_setzero_si256();
    for (int i = 0; i < count; ++i) {
      const RowPair& pair = pairs[i];
      const int8_t* const a = values + static_cast<size_t>(pair.row[0]) * dim + first;
      const int8_t* const b = values + static_cast<size_t>(pair.row[1]) * dim + first;
      const __m128i shift_a = _mm_cvtsi32_si128(pair.shift[0]);
      const __m128i shift_b = _mm_cvtsi32_si128(pair.shift[1]);
      const __m256i weights = _mm256_set1_epi32(
          static_cast<uint16_t>(pair.weight[0]) | static_cast<int32_t>(pair.weight[1]) << 16);
      for (int half = 0; half < 2; ++half) {
        const __m256i left = _mm256_sll_epi16(widened(a + 16 * half), shift_a);
        const __m256i right = _mm256_sll_epi16(widened(b + 16 * half), shift_b);
        sum[2 * half] = _mm256_add_epi32(
            sum[2 * half], _mm256_madd_epi16(_mm256_unpacklo_epi16(left, right), weights));
        sum[2 * half + 1] = _mm256_add_epi32(
            sum[2 * half + 1], _mm256_madd_epi16(_mm256_unpackhi_epi16(left, right), weights));
      }
    }
    alignas(32) int32_t ordered[32];
    for (int half = 0; half < 2; ++half) {
      const __m256i low = sum[2 * half], high = sum[2 * half + 1];
      __m256i* const to = reinterpret_cast<__m256i*>(ordered + 16 * half);
      _mm256_store_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
      _mm256_store_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
    }
    for (int d = 0; d < 32; ++d) total[first + d] += int64_t{ordered[d]} * (int64_t{1} << base);
  }
  add_columns(pairs, count, values, first, dim, base, total);
}

// 16 * kParts columns from `first` on, whose sums stay in registers. weights[rows] is 0.
template <int kParts>
__attribute__((target("avx2"))) void add_run_of(const int16_t* weights, int rows,
                                                const int8_t* values, int first, int dim, int base,
                                                int64_t* total) {
  __m256i sum[2 * kParts];
  for (auto& s : sum) s = _mm256_setzero_si256();
  const int8_t* row = values + first;
  for (int i = 0; i < rows; i += 2, row += 2 * static_cast<size_t>(dim)) {
    const int8_t* const next = i + 1 < rows ? row + dim : row;
    int32_t both;
    std::memcpy(&both, weights + i, sizeof both);
    const __m256i weight = _mm256_set1_epi32(both);
    for (int c = 0; c < kParts; ++c) {
      const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 16 * c));
      const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(next + 16 * c));
      const __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
      const __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b));
      sum[2 * c] = _mm256_add_epi32(sum[2 * c], _mm256_madd_epi16(low, weight));
      sum[2 * c + 1] = _mm256_add_epi32(sum[2 * c + 1], _mm256_madd_epi16(high, weight));
    }
  }
  const __m128i shift = _mm_cvtsi32_si128(base);
  for (int c = 0; c < 4 * kParts; ++c) {
    const __m128i four = c % 2 == 0 ? _mm256_castsi256_si128(sum[c / 2])
                                    : _mm256_extracti128_si256(sum[c / 2], 1);
    __m256i* const to = reinterpret_cast<__m256i*>(total + first + 4 * c);
    _mm256_storeu_si256(to, _mm256_add_epi64(_mm256_loadu_si256(to),
                                             _mm256_sll_epi64(_mm256_cvtepi32_epi64(four), shift)));
  }
}

void add_run_avx2(const int16_t* weights, int rows, const int8_t* values, int first, int dim,
                  int base, int64_t* total) {
  for (; first + 64 <= dim; first += 64) {
    add_run_of<4>(weights, rows, values, first, dim, base, total);
  }
  for (; first + 16 <= dim; first += 16) {
    add_run_of<1>(weights, rows, values, first, dim, base, total);
  }
  add_run_portably(weights, rows, values, first, dim, base, total);
}

#else
const auto add_run_avx2 = add_run_portably;
void (*const dot_rows_avx2)(const int16_t*, const int8_t*, int, int, int32_t*) = dot_rows_portably;
const AddPairs add_pairs_avx2 = add_pairs_portably;
#endif

// Whether one run of pairs can take all rows within the budget.
HARDCAST_CLONES bool fits_one_run(const int32_t* p, const uint8_t* exponents, int base, int rows) {
  int most = 0;
  int64_t cost = 0;
  for (int i = 0; i < rows; ++i) {
    const int shift = exponents[i] - base;
    most = shift > most ? shift : most;
    cost += (static_cast<int64_t>(p[i]) << shift) << 7;  // |value| <= 2^7
  }
  return most <= kMostValueShift && cost < kBudget;
}

// Pairs of neighbouring rows, zeros and all: no branch a row. A last odd row is paired with itself
// at weight 0.
void pair_neighbours(const int32_t* p, const uint8_t* exponents, int base, int rows,
                     std::vector<RowPair>& pairs) {
  pairs.resize((rows + 1) / 2);
  for (int i = 0; i < rows; ++i) {
    RowPair& pair = pairs[i / 2];
    const int shift = exponents[i] - base;
    const int carried = std::min(shift, kWeightShift);
    pair.row[i % 2] = i;
    pair.shift[i % 2] = shift - carried;
    pair.weight[i % 2] = static_cast<int16_t>(p[i] << carried);
  }
  if (rows % 2 != 0) {
    RowPair& last = pairs.back();
    last.row[1] = last.row[0];
    last.shift[1] = 0;
    last.weight[1] = 0;
  }
}

// weights[i] = p[i] << (exponents[i] - base), below 2^15; one 0 behind the last.
HARDCAST_CLONES void weigh(const int32_t* p, const uint8_t* exponents, int base, int rows,
                           int16_t* weights) {
  for (int i = 0; i < rows; ++i) weights[i] = static_cast<int16_t>(p[i] << (exponents[i] - base));
  weights[rows] = 0;
}

HARDCAST_CLONES int spread_of(const uint8_t* exponents, int rows, int* least) {
  uint8_t low = 255, high = 0;
  for (int i = 0; i < rows; ++i) {
    low = exponents[i] < low ? exponents[i] : low;
    high = exponents[i] > high ? exponents[i] : high;
  }
  *least = low;
  return high - low;
}

// weighted_sum of rows whose exponents lie apart.
void add_apart(bool avx2, const int32_t* p, const uint8_t* exponents, int base,
               const int8_t* values, int dim, int rows, std::vector<RowPair>& pairs,
               int64_t* total) {
  const AddPairs add_pairs = avx2 ? add_pairs_avx2 : add_pairs_portably;
  if (fits_one_run(p, exponents, base, rows)) {
    pair_neighbours(p, exponents, base, rows, pairs);
    add_pairs(pairs.data(), static_cast<int>(pairs.size()), values, dim, base, total);
    return;
  }
  pairs.clear();
  int64_t spent = 0;
  bool open = false;  // the last pair still lacks its second row
  const auto flush = [&] {
    add_pairs(pairs.data(), static_cast<int>(pairs.size()), values, dim, base, total);
    pairs.clear();
    spent = 0;
    open = false;
  };
  for (int i = 0; i < rows; ++i) {
    if (p[i] == 0) continue;
    const int shift = exponents[i] - base;
    const int64_t cost = static_cast<int64_t>(p[i]) << shift << 7;  // |value| <= 2^7
    if (shift > kMostValueShift || cost >= kBudget) {
      const int64_t weight = static_cast<int64_t>(p[i]) << exponents[i];
      const int8_t* const row = values + static_cast<size_t>(i) * dim;
      for (int d = 0; d < dim; ++d) total[d] += weight * row[d];
      continue;
    }
    if (spent + cost >= kBudget) flush();
    spent += cost;
    const int carried = std::min(shift, kWeightShift);
    const int side = open ? 1 : 0;
    if (!open) pairs.push_back({{i, i}, {0, 0}, {0, 0}});
    RowPair& pair = pairs.back();
    pair.row[side] = i;
    pair.shift[side] = shift - carried;
    pair.weight[side] = static_cast<int16_t>(p[i] << carried);
    open = !open;
  }
  flush();
}

}  // namespace

void dot_rows(bool avx2, const int16_t* q, const int8_t* keys, int dim, int rows,
              int32_t* dots) {
  (avx2 ? dot_rows_avx2 : dot_rows_portably)(q, keys, dim, rows, dots);
}

void weighted_sum(bool avx2, const int32_t* p, const uint8_t* exponents, const int8_t* values,
                  int dim, int rows, std::vector<RowPair>& pairs, int64_t* total) {
  int16_t weights[kRun + 1];
  for (int first = 0; first < rows; first += kRun) {
    const int count = std::min(kRun, rows - first);
    const int8_t* const run = values + static_cast<size_t>(first) * dim;
    int base;
    if (spread_of(exponents + first, count, &base) <= kWeightShift) {
      weigh(p + first, exponents + first, base, count, weights);
      (avx2 ? add_run_avx2 : add_run_portably)(weights, count, run, 0, dim, base, total);
    } else {
      add_apart(avx2, p + first, exponents + first, base, run, dim, count, pairs, total);
    }
  }
}

}  // namespace hardcast
