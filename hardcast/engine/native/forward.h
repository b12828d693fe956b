// The forward pass: the program's operations over a batch of tokens, shared by a team of threads.

#pragma once

#include <cstdint>
#include <vector>

#include "activations.h"
#include "steps/attention.h"
#include "kv/kv_cache.h"
#include "model.h"
#include "steps/norm.h"
#include "pool.h"
#include "steps/sampler.h"

namespace hardcast {

// One token of a batch: which session it extends, where, and whether its logits are wanted.
struct Row {
  KvCache* cache = nullptr;
  int32_t token = 0;
  int32_t position = 0;
  bool wanted = false;
};

// Runs one model. Not thread-safe: one forward() at a time.
class Machine {
 public:
  Machine(const Model& model, int threads);

  // Appends rows to their sessions (positions of one session in order) and writes the logits of
  // the wanted rows, in order: int32[wanted][vocab_size]. Caches must have room (reserve).
  void forward(const std::vector<Row>& rows, int32_t* logits);

  // tokens[i] = sample() of draws[i], the rows shared out among the threads.
  void sample(const std::vector<Draw>& draws, int32_t* tokens);

 private:
  void prepare(const std::vector<Row>& rows);
  void run(int tid, int threads);
  void run(const Operation& op, int tid, int threads);
  void embed(const Operation& op, int tid, int threads);
  void norm(const Operation& op, int tid, int threads);
  void quantize(const Operation& op, int tid, int threads);
  void head_norm(const Operation& op, int tid, int threads);
  void matvec(const Operation& op, int tid, int threads);
  void rope(const Operation& op, int tid, int threads);
  void kv_write(const Operation& op, int tid, int threads);
  void attend(const Operation& op, int tid, int threads);
  void gate_mul(const Operation& op, int tid, int threads);
  void add(const Operation& op, int tid, int threads);

  template <class F>
  void fill_h(const Operation& op, int tid, int threads, F&& fill);
  const ActivationBuffer& input(Buffer src) const;

  int32_t* ints(Buffer buffer) { return ints_[static_cast<int>(buffer)].data(); }
  int point_of(Buffer buffer) const;

  const Model& model_;
  Pool pool_;
  std::vector<Row> rows_;
  std::vector<int> wanted_;  // indices into rows_
  int32_t* logits_ = nullptr;

  std::vector<int32_t> ints_[kBuffers];              // [tokens][width] of the int32 buffers
  ActivationBuffer h_, head_h_, a_, f_;
  std::vector<Scale> h_scales_, head_h_scales_;
  std::vector<int32_t> cosines_, sines_;             // [tokens][head_dim / 2]
  std::vector<int8_t> q_codes_, k_codes_;            // [tokens][heads][head_dim]
  std::vector<uint8_t> q_exponents_, k_exponents_;   // [tokens][heads]
  std::vector<AttentionScratch> scratch_;            // [threads]
  std::vector<std::vector<Scale>> plain_scales_;     // [threads][tokens], of a or f
};

}  // namespace hardcast
