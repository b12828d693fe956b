// ATTEND: two-pass softmax over a session's cached positions, one head at a time.

#pragma once

#include <cstdint>
#include <vector>

#include "steps/attention_sums.h"
#include "kv/kv_cache.h"
#include "model.h"

namespace hardcast {

// Scratch of one thread; grows with the context.
struct AttentionScratch {
  std::vector<int64_t> scores, total;
  std::vector<int32_t> terms;
  std::vector<int16_t> wide_q;
  std::vector<RowPair> pairs;
};

// golden/steps.py attend() of query head `head` of a token at `position`.
// q: int8[head_dim] with one exponent; out: int32[head_dim] at points.a.
void attend_head(const Model& model, const KvCache& cache, int layer, int head, int position,
                 int window, const int8_t* q, int q_exponent, AttentionScratch& scratch,
                 int32_t* out);

}  // namespace hardcast
