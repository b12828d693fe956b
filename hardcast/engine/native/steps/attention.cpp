#include "steps/attention.h"

#include <algorithm>

#include "steps/attention_sums.h"
#include "fixed.h"

namespace hardcast {

namespace {

constexpr int kExp2Bits = 8;
constexpr int kTermBits = 13;  // rs(x, 13) of a table entry below 2^12 is 0, and so is any beyond
constexpr int kReciprocalBits = 8;

// scores[i] = rs(dots[i] << (q_exponent + exponents[i]), shift); returns the largest.
// |dots << exponents| < 2^52; 2^62 makes it unsigned, since AVX2 shifts 64-bit lanes logically.
HARDCAST_CLONES int64_t score_rows(const int32_t* dots, const uint8_t* exponents, int q_exponent,
                                   int shift, int rows, int64_t* scores) {
  const uint64_t offset = uint64_t{1} << 62;
  const uint64_t in = offset + ((uint64_t{1} << shift) >> 1), out = offset >> shift;
  int64_t largest = INT64_MIN;
  for (int i = 0; i < rows; ++i) {
    const uint64_t count = static_cast<uint64_t>(q_exponent + exponents[i]);
    const uint64_t dot = static_cast<uint64_t>(static_cast<int64_t>(dots[i])) << count;
    scores[i] = static_cast<int64_t>(((dot + in) >> shift) - out);
    largest = scores[i] > largest ? scores[i] : largest;
  }
  return largest;
}

// terms[i] = rs(exp2[d mod 256], d div 256), d = largest - scores[i]; returns their sum.
HARDCAST_CLONES int64_t softmax_terms(const int32_t* exp2, const int64_t* scores, int64_t largest,
                                      int rows, int32_t* terms) {
  int64_t sum = 0;
  for (int i = 0; i < rows; ++i) {
    const int64_t d = largest - scores[i];
    const int64_t whole = d >> kExp2Bits;
    const uint32_t count = static_cast<uint32_t>(whole < kTermBits ? whole : kTermBits);
    const uint32_t entry = static_cast<uint32_t>(exp2[d & ((1 << kExp2Bits) - 1)]);
    const uint32_t p = (entry + ((uint32_t{1} << count) >> 1)) >> count;
    terms[i] = static_cast<int32_t>(p);
    sum += p;
  }
  return sum;
}

// f(page, place in the page, rows, rows before them) for each page's part of positions first..end-1.
template <class F>
void each_page(int first, int end, F&& f) {
  for (int at = first; at < end;) {
    const int place = at % kKvPage, rows = std::min(kKvPage - place, end - at);
    f(at / kKvPage, place, rows, at - first);
    at += rows;
  }
}

}  // namespace

void attend_head(const Model& model, const KvCache& cache, int layer, int head, int position,
                 int window, const int8_t* q, int q_exponent, AttentionScratch& scratch,
                 int32_t* out) {
  const Points& points = model.points;
  const int dim = model.shape.head_dim;
  const int kv = head / (model.shape.num_attention_heads / model.shape.num_key_value_heads);
  const int first = window > 0 ? std::max(0, position - window + 1) : 0;
  const int rows = position + 1 - first;

  scratch.scores.resize(rows);
  scratch.terms.resize(rows);  // dots first, then the softmax terms
  scratch.total.resize(dim);
  scratch.wide_q.resize(dim);
  int64_t* const scores = scratch.scores.data();
  int32_t* const terms = scratch.terms.data();
  int16_t* const wide_q = scratch.wide_q.data();
  for (int d = 0; d < dim; ++d) wide_q[d] = q[d];

  const bool avx2 = model.path->avx2;
  const int score_shift = 2 * points.rope - points.score;
  int64_t largest = INT64_MIN;
  each_page(first, position + 1, [&](int page, int place, int count, int done) {
    const KvRows stored = cache.rows(layer, kv, page);
    dot_rows(avx2, wide_q, stored.keys + static_cast<size_t>(place) * dim, dim, count,
             terms + done);
    largest = std::max(largest, score_rows(terms + done, stored.key_exponents + place, q_exponent,
                                           score_shift, count, scores + done));
  });
  int64_t* const total = scratch.total.data();
  std::fill_n(total, dim, 0);
  int64_t z = 0;
  each_page(first, position + 1, [&](int page, int place, int count, int done) {
    const int64_t sum =
        softmax_terms(model.exp2.data(), scores + done, largest, count, terms + done);
    if (sum == 0) return;  // no position of this page counts
    z += sum;
    const KvRows stored = cache.rows(layer, kv, page);
    weighted_sum(avx2, terms + done, stored.value_exponents + place,
                 stored.values + static_cast<size_t>(place) * dim, dim, count, scratch.pairs,
                 total);
  });
  const int b = bit_length(static_cast<uint64_t>(z));
  const int64_t reciprocal =
      model.reciprocal[(z >> (b - 1 - kReciprocalBits)) & ((1 << kReciprocalBits) - 1)];
  const int c = std::max(b - kMixBits, 0);
  const int shift = 16 + (b - 1) - c + points.v - points.a;
  for (int d = 0; d < dim; ++d) {
    out[d] = static_cast<int32_t>(rs(rs(total[d], c) * reciprocal, shift));
  }
}

}  // namespace hardcast
