#include "steps/sampler.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "fixed.h"

namespace hardcast {

namespace {

constexpr int kTemperatureBits = 12;
constexpr int kScoreBits = 16;
constexpr int kLogBits = 24;
constexpr int kExp2Bits = 8;

constexpr int kGroups = 64;  // counters whose rounds run side by side

// Philox4x32-10 of counters (first + i, 0, position) under the seed: word k of counter i is
// words[k][i]. Source: Salmon et al., SC'11.
HARDCAST_CLONES void philox(uint32_t first, uint64_t position, uint64_t seed,
                            uint32_t words[4][kGroups]) {
  for (int i = 0; i < kGroups; ++i) {
    words[0][i] = first + static_cast<uint32_t>(i);
    words[1][i] = 0;
    words[2][i] = static_cast<uint32_t>(position);
    words[3][i] = static_cast<uint32_t>(position >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kGroups; ++i) {
      const uint64_t p0 = uint64_t{words[0][i]} * 0xD2511F53u;
      const uint64_t p1 = uint64_t{words[2][i]} * 0xCD9E8D57u;
      words[0][i] = static_cast<uint32_t>(p1 >> 32) ^ words[1][i] ^ k0;
      words[1][i] = static_cast<uint32_t>(p1);
      words[2][i] = static_cast<uint32_t>(p0 >> 32) ^ words[3][i] ^ k1;
      words[3][i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// log2(x * 2^-point) at kLogBits, x >= 1.
int64_t log2_fixed(const Model& model, int64_t x, int point) {
  const int length = bit_length(static_cast<uint64_t>(x));
  const int64_t mantissa = x << (40 - length);
  const int index = static_cast<int>(mantissa >> 31) - 256;
  const int64_t rest = mantissa & ((int64_t{1} << 31) - 1);
  const int64_t step = model.log2[index + 1] - model.log2[index];
  return (static_cast<int64_t>(length - 1 - point) << kLogBits) + model.log2[index] +
         rs(step * (rest >> 11), 20);
}

int64_t tail(const Model& model, int64_t v) {
  const int index = static_cast<int>(std::min<int64_t>(v >> 24, 255));
  const int64_t rest = v & ((1 << 24) - 1);
  const int64_t step = model.tail[index + 1] - model.tail[index];
  return model.tail[index] + rs(step * (rest >> 4), 20);
}

int64_t gumbel(const Model& model, uint32_t word) {
  const int64_t v = 2 * static_cast<int64_t>(word) + 1;
  int64_t noise;
  if (v < int64_t{1} << 32) {
    noise = -log2_fixed(model, v, 33) - tail(model, v);
  } else {
    const int64_t inner = -log2_fixed(model, (int64_t{1} << 33) - v, 33);
    noise = -log2_fixed(model, inner, kLogBits);
  }
  return rs(noise, kLogBits - kScoreBits);
}

// At least gumbel(word). Below half of 2^33 the noise is -log2(v / 2^33) less a tail >= 0, and the
// logarithm at least its whole part; above, it is not positive.
int64_t most_noise(uint32_t word) {
  const int length = bit_length(2 * static_cast<uint64_t>(word) + 1);
  return static_cast<int64_t>(34 - length) << kScoreBits;
}

int draw_with_noise(const Model& model, const int32_t* logits, const SamplerSettings& s,
                    uint64_t position, int shift) {
  const int vocab = model.shape.vocab_size;
  uint32_t words[4][kGroups];
  int best = 0;
  int64_t best_score = INT64_MIN;
  for (int first = 0; first < vocab; first += 4 * kGroups) {
    philox(static_cast<uint32_t>(first / 4), position, s.seed, words);
    for (int i = first; i < std::min(first + 4 * kGroups, vocab); ++i) {
      const uint32_t word = words[i % 4][(i - first) / 4];
      const int64_t score = rescale(logits[i] * s.inverse_temperature, shift);
      // Few tokens can still win, so few logarithms are taken.
      if (score + most_noise(word) <= best_score) continue;
      const int64_t noisy = score + gumbel(model, word);
      if (noisy > best_score) {
        best_score = noisy;
        best = i;
      }
    }
  }
  return best;
}

int draw_among_largest(const Model& model, const int32_t* logits, const SamplerSettings& s,
                       uint64_t position, int shift) {
  const int vocab = model.shape.vocab_size;
  const int count = std::min(s.candidates, vocab);
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int a, int b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  auto score = [&](int id) { return rescale(logits[id] * s.inverse_temperature, shift); };
  const int64_t top = score(order[0]);
  std::vector<int64_t> sums(count);
  int64_t total = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t d = top - score(order[i]);
    const int64_t whole = std::min<int64_t>(d >> kScoreBits, 40);
    const int index = (d >> (kScoreBits - kExp2Bits)) & ((1 << kExp2Bits) - 1);
    total += rs(model.exp2[index], static_cast<int>(whole));
    sums[i] = total;
  }
  int kept = 0;
  while ((sums[kept] << 16) < total * s.top_p) ++kept;
  uint32_t words[4][kGroups];
  philox(0, position, s.seed, words);
  const uint64_t r = words[0][0];
  const int64_t target = static_cast<int64_t>((r * static_cast<uint64_t>(sums[kept])) >> 32);
  int chosen = 0;
  while (sums[chosen] <= target) ++chosen;
  return order[chosen];
}

}  // namespace

int sample(const Model& model, const int32_t* logits, const SamplerSettings& s,
           uint64_t position) {
  const int vocab = model.shape.vocab_size;
  if (s.inverse_temperature == 0) {
    return static_cast<int>(std::max_element(logits, logits + vocab) - logits);
  }
  const int shift = kTemperatureBits + model.points.logits - kScoreBits;
  if (s.candidates > 0) return draw_among_largest(model, logits, s, position, shift);
  return draw_with_noise(model, logits, s, position, shift);
}

}  // namespace hardcast
