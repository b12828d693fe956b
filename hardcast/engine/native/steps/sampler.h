// SAMPLE (golden/sampler.py): the next token from a row of logits, in integers.

#pragma once

#include <cstdint>

#include "model.h"

namespace hardcast {

struct SamplerSettings {
  int64_t inverse_temperature = 0;  // 0: greedy
  int candidates = 0;               // largest logits kept; 0: the whole vocabulary
  int64_t top_p = 65536;            // 16-bit fraction
  uint64_t seed = 0;
};

// One row of logits and what its next token is drawn with.
struct Draw {
  const int32_t* logits;
  SamplerSettings settings;
  uint64_t position;
};

// logits: int32[vocab_size]; position: of the token to come.
int sample(const Model& model, const int32_t* logits, const SamplerSettings& settings,
           uint64_t position);

}  // namespace hardcast
