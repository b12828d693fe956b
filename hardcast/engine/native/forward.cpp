#include "forward.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "steps/elementwise.h"
#include "fixed.h"
#include "steps/matvec.h"
#include "steps/quantize.h"

namespace hardcast {

namespace {

constexpr int kMostExponent = 30;  // the quantiser clamps: kMagnitudeBits - 7

template <class T>
void grow(std::vector<T>& array, size_t count) {
  if (array.size() < count) array.resize(count);
}

// Calls f(i) for this thread's share of 0..count-1.
template <class F>
void share(int count, int tid, int threads, F&& f) {
  const int begin = static_cast<int>(int64_t{count} * tid / threads);
  const int end = static_cast<int>(int64_t{count} * (tid + 1) / threads);
  for (int i = begin; i < end; ++i) f(i);
}

// Bits of the widest codes that any step writes to a block-quantised buffer.
int bits_of(const Model& model, Buffer dst) {
  int bits = 8;
  for (const Operation& op : model.operations) {
    if (op.dst == dst) bits = std::max(bits, op.bits);
  }
  return bits;
}

}  // namespace

Machine::Machine(const Model& model, int threads)
    : model_(model), pool_(threads), scratch_(threads), plain_scales_(threads) {}

int Machine::point_of(Buffer buffer) const {
  const Points& p = model_.points;
  switch (buffer) {
    case Buffer::kQ: case Buffer::kK: return p.qk;
    case Buffer::kV: return p.v;
    case Buffer::kA: return p.a;
    case Buffer::kG: case Buffer::kU: return p.gate;
    case Buffer::kF: return p.f;
    case Buffer::kLogits: return p.logits;
    default: return p.residual;
  }
}

void Machine::prepare(const std::vector<Row>& rows) {
  rows_ = rows;
  wanted_.clear();
  const int tokens = static_cast<int>(rows.size());
  for (int i = 0; i < tokens; ++i) {
    if (rows[i].wanted) wanted_.push_back(i);
  }
  const int wanted = static_cast<int>(wanted_.size());
  for (Buffer b : {Buffer::kX, Buffer::kQ, Buffer::kK, Buffer::kV, Buffer::kG, Buffer::kU,
                   Buffer::kY}) {
    grow(ints_[static_cast<int>(b)], static_cast<size_t>(tokens) * model_.width(b));
  }
  const Shape& s = model_.shape;
  grow(ints_[static_cast<int>(Buffer::kHeadX)], static_cast<size_t>(wanted) * s.hidden_size);
  h_.resize(tokens, s.hidden_size, bits_of(model_, Buffer::kH), kMostExponent);
  head_h_.resize(wanted, s.hidden_size, bits_of(model_, Buffer::kHeadH), kMostExponent);
  a_.resize(tokens, model_.q_width(), bits_of(model_, Buffer::kA), kMostExponent);
  f_.resize(tokens, s.intermediate_size, bits_of(model_, Buffer::kF), kMostExponent);
  grow(h_scales_, tokens);
  grow(head_h_scales_, wanted);
  grow(cosines_, model_.ropes.size() * tokens * s.head_dim / 2);
  grow(sines_, model_.ropes.size() * tokens * s.head_dim / 2);
  grow(q_codes_, static_cast<size_t>(tokens) * model_.q_width());
  grow(k_codes_, static_cast<size_t>(tokens) * model_.kv_width());
  grow(q_exponents_, static_cast<size_t>(tokens) * s.num_attention_heads);
  grow(k_exponents_, static_cast<size_t>(tokens) * s.num_key_value_heads);
}

void Machine::forward(const std::vector<Row>& rows, int32_t* logits) {
  prepare(rows);
  logits_ = logits;
  auto part = [this](int tid, int threads) { run(tid, threads); };
  pool_.run(part);
  for (const Row& row : rows_) row.cache->length = row.position + 1;
}

void Machine::sample(const std::vector<Draw>& draws, int32_t* tokens) {
  std::atomic<size_t> next{0};  // a greedy row costs a fraction of a drawn one
  auto part = [&](int, int) {
    for (size_t i = next++; i < draws.size(); i = next++) {
      tokens[i] = hardcast::sample(model_, draws[i].logits, draws[i].settings, draws[i].position);
    }
  };
  pool_.run(part);
}

void Machine::run(int tid, int threads) {
  for (const Operation& op : model_.operations) {
    if (op.wanted && wanted_.empty()) continue;
    if (op.barrier && threads > 1) pool_.barrier();
    run(op, tid, threads);
  }
}

void Machine::run(const Operation& op, int tid, int threads) {
  switch (op.kind) {
    case StepKind::kEmbed: return embed(op, tid, threads);
    case StepKind::kNorm: return norm(op, tid, threads);
    case StepKind::kQuantize: return quantize(op, tid, threads);
    case StepKind::kHeadNorm: return head_norm(op, tid, threads);
    case StepKind::kMatvec: return matvec(op, tid, threads);
    case StepKind::kRope: return rope(op, tid, threads);
    case StepKind::kKvWrite: return kv_write(op, tid, threads);
    case StepKind::kAttend: return attend(op, tid, threads);
    case StepKind::kGateMul: return gate_mul(op, tid, threads);
    case StepKind::kAdd: return add(op, tid, threads);
  }
}

void Machine::embed(const Operation& op, int tid, int threads) {
  const Matrix& matrix = model_.matrices[op.matrix];
  const int n = model_.shape.hidden_size, half = model_.shape.head_dim / 2;
  share(static_cast<int>(rows_.size()), tid, threads, [&](int t) {
    int32_t* const x = ints(Buffer::kX) + static_cast<size_t>(t) * n;
    const int token = rows_[t].token;
    decode_row(matrix.packed, token, x);
    const int64_t multiplier = matrix.multiplier[token];
    const int shift = matrix.shift[token] - model_.points.residual;
    for (int i = 0; i < n; ++i) x[i] = saturate32(rescale(x[i] * multiplier, shift));
    for (size_t i = 0; i < model_.ropes.size(); ++i) {
      const size_t at = (i * rows_.size() + t) * half;
      rope_angles(model_, model_.ropes[i], rows_[t].position, cosines_.data() + at,
                  sines_.data() + at);
    }
  });
}

// Scale = fill(x of a token, the token's place in h, h), for every token of the step.
template <class F>
void Machine::fill_h(const Operation& op, int tid, int threads, F&& fill) {
  const bool head = op.dst == Buffer::kHeadH;
  ActivationBuffer& h = head ? head_h_ : h_;
  Scale* const scales = head ? head_h_scales_.data() : h_scales_.data();
  const int32_t* const x = ints(op.src);
  share(h.view().tokens, tid, threads, [&](int t) {
    const int row = head && op.src == Buffer::kX ? wanted_[t] : t;
    scales[t] = fill(x + static_cast<size_t>(row) * model_.shape.hidden_size, t, h);
  });
}

void Machine::norm(const Operation& op, int tid, int threads) {
  const int32_t* const gain = model_.gains[op.gain].data();
  fill_h(op, tid, threads, [&](const int32_t* x, int t, ActivationBuffer& h) {
    return hardcast::norm(model_, gain, op.epsilon, x, op.bits, t, h);
  });
}

void Machine::quantize(const Operation& op, int tid, int threads) {
  fill_h(op, tid, threads, [&](const int32_t* x, int t, ActivationBuffer& h) {
    return hardcast::quantize(model_, x, op.bits, t, h);
  });
}

void Machine::head_norm(const Operation& op, int tid, int threads) {
  const int32_t* const gain = model_.gains[op.gain].data();
  const int parts = static_cast<int>(rows_.size()) * op.heads;
  const int n = model_.width(op.dst) / op.heads, point = point_of(op.dst);
  int32_t* const x = ints(op.dst);
  share(parts, tid, threads, [&](int i) {
    hardcast::head_norm(model_, gain, op.epsilon, n, point, x + static_cast<size_t>(i) * n);
  });
}

const ActivationBuffer& Machine::input(Buffer src) const {
  switch (src) {
    case Buffer::kHeadH: return head_h_;
    case Buffer::kA: return a_;
    case Buffer::kF: return f_;
    default: return h_;
  }
}

void Machine::matvec(const Operation& op, int tid, int threads) {
  const Matrix& matrix = model_.matrices[op.matrix];
  const int tiles = matrix.packed.tiles;
  const int begin = static_cast<int>(int64_t{tiles} * tid / threads);
  const int end = static_cast<int>(int64_t{tiles} * (tid + 1) / threads);
  const int32_t* const bias = op.bias < 0 ? nullptr : model_.biases[op.bias].data();
  const Activations& src = input(op.src).view();
  const Scale* scales = op.src == Buffer::kHeadH ? head_h_scales_.data() : h_scales_.data();
  if (op.src == Buffer::kA || op.src == Buffer::kF) {
    // Every thread finds the largest exponents for itself: cheaper than a barrier.
    grow(plain_scales_[tid], src.tokens);
    for (int t = 0; t < src.tokens; ++t) {
      const uint8_t* const first = src.exponents + src.at(t, 0);
      plain_scales_[tid][t] = {1, point_of(op.src),
                               *std::max_element(first, first + src.blocks)};
    }
    scales = plain_scales_[tid].data();
  }
  int32_t* const out = op.dst == Buffer::kLogits ? logits_ : ints(op.dst);
  hardcast::matvec(model_, matrix, src, op.bits, scales, point_of(op.dst), bias, begin, end, out);
}

void Machine::rope(const Operation& op, int tid, int threads) {
  const int dim = model_.shape.head_dim, heads = op.heads;
  const bool query = op.dst == Buffer::kQ;
  int8_t* const codes = query ? q_codes_.data() : k_codes_.data();
  uint8_t* const exponents = query ? q_exponents_.data() : k_exponents_.data();
  int32_t* const x = ints(op.dst);
  share(static_cast<int>(rows_.size()) * heads, tid, threads, [&](int i) {
    int32_t* const head = x + static_cast<size_t>(i) * dim;
    if (op.table < 0) {
      unturned_head(model_, head);
    } else {
      const size_t angle = (op.table * rows_.size() + i / heads) * (dim / 2);
      rope_head(model_, cosines_.data() + angle, sines_.data() + angle, head);
    }
    exponents[i] = static_cast<uint8_t>(
        quantize_head(head, dim, codes + static_cast<size_t>(i) * dim));
  });
}

void Machine::kv_write(const Operation& op, int tid, int threads) {
  const int dim = model_.shape.head_dim, heads = model_.shape.num_key_value_heads;
  const int32_t* const v = ints(Buffer::kV);
  share(static_cast<int>(rows_.size()) * heads, tid, threads, [&](int i) {
    const int position = rows_[i / heads].position, place = position % kKvPage;
    const KvRows rows = rows_[i / heads].cache->rows(op.layer, i % heads, position / kKvPage);
    const size_t from = static_cast<size_t>(i) * dim, to = static_cast<size_t>(place) * dim;
    std::memcpy(rows.keys + to, k_codes_.data() + from, dim);
    rows.key_exponents[place] = k_exponents_[i];
    rows.value_exponents[place] =
        static_cast<uint8_t>(quantize_head(v + from, dim, rows.values + to));
  });
}

void Machine::attend(const Operation& op, int tid, int threads) {
  const int dim = model_.shape.head_dim, heads = model_.shape.num_attention_heads;
  int32_t* const out = ints(Buffer::kQ);  // a head's q is spent once the head is done
  const int tokens = static_cast<int>(rows_.size());
  // Later positions cost more, so threads take heads in turn rather than in runs.
  for (int i = tid; i < tokens * heads; i += threads) {
    const Row& row = rows_[i / heads];
    const size_t from = static_cast<size_t>(i) * dim;
    attend_head(model_, *row.cache, op.layer, i % heads, row.position, op.window,
                q_codes_.data() + from, q_exponents_[i], scratch_[tid], out + from);
  }
  if (threads > 1) pool_.barrier();  // blocks of 64 may span heads
  const int width = model_.q_width(), blocks = a_.view().blocks;
  share(tokens * blocks, tid, threads, [&](int i) {
    const int t = i / blocks, b = i % blocks, first = b * kBlock;
    const int count = std::min(kBlock, width - first);
    const int32_t* const x = out + static_cast<size_t>(t) * width + first;
    a_.exponents(t)[b] = static_cast<uint8_t>(quantize_block(x, count, op.bits, a_.x(t) + first));
    a_.finish(t, t + 1, b, b + 1);
  });
}

void Machine::gate_mul(const Operation& op, int tid, int threads) {
  const int n = model_.shape.intermediate_size, blocks = f_.view().blocks;
  share(static_cast<int>(rows_.size()) * blocks, tid, threads, [&](int i) {
    const size_t row = static_cast<size_t>(i / blocks) * n;
    gate_block(model_, model_.gates[op.gate], ints(Buffer::kG) + row, ints(Buffer::kU) + row,
               op.bits, i / blocks, i % blocks, f_);
  });
}

void Machine::add(const Operation&, int tid, int threads) {
  const int n = model_.shape.hidden_size;
  int32_t* const x = ints(Buffer::kX);
  const int32_t* const y = ints(Buffer::kY);
  const int count = static_cast<int>(rows_.size()) * n;
  const int begin = static_cast<int>(int64_t{count} * tid / threads);
  const int end = static_cast<int>(int64_t{count} * (tid + 1) / threads);
  for (int i = begin; i < end; ++i) x[i] = saturate32(int64_t{x[i]} + y[i]);
}

}  // namespace hardcast
