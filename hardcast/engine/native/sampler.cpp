#include "sampler.h"

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

struct Words {
  uint32_t word[4];
};

// Philox4x32-10 of counter (index, 0, position) under the seed. Source: Salmon et al., SC'11.
Words philox(uint32_t index, uint64_t position, uint64_t seed) {
  uint32_t c0 = index, c1 = 0, c2 = static_cast<uint32_t>(position),
           c3 = static_cast<uint32_t>(position >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{c0} * 0xD2511F53u, p1 = uint64_t{c2} * 0xCD9E8D57u;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
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
  const uint64_t r = philox(0, position, s.seed).word[0];
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
  int best = 0;
  int64_t best_score = INT64_MIN;
  for (int first = 0; first < vocab; first += 4) {
    const Words words = philox(static_cast<uint32_t>(first / 4), position, s.seed);
    for (int i = first; i < std::min(first + 4, vocab); ++i) {
      const int64_t score =
          rescale(logits[i] * s.inverse_temperature, shift) + gumbel(model, words.word[i - first]);
      if (score > best_score) {
        best_score = score;
        best = i;
      }
    }
  }
  return best;
}

}  // namespace hardcast
