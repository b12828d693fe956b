// One chip image, ready to run: packed matrices, tables, and the program as operations.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "packed_matrix.h"

namespace hardcast {

// golden/steps.py states what these mean; tests/agreement holds the two equal.
constexpr int kRsqrtFraction = 31;
constexpr int kProductBits = 37;
constexpr int kMixBits = 13;
constexpr int kGateIndexBits = 6;
constexpr size_t kGateEntries = (1 << kGateIndexBits) + 1;

enum class StepKind : uint8_t {
  kEmbed, kNorm, kQuantize, kHeadNorm, kMatvec, kRope, kKvWrite, kAttend, kGateMul, kAdd,
};

// The head's x and h are those of the tokens whose logits are asked for (compile.py: _head).
enum class Buffer : uint8_t {
  kX, kH, kQ, kK, kV, kA, kG, kU, kF, kY, kLogits, kHeadX, kHeadH,
};
constexpr int kBuffers = 13;

struct Points {
  int residual = 0, gain = 0, norm_extra = 0, normed = 0, qk = 0, rope = 0, score = 0, v = 0,
      a = 0, gate = 0, silu = 0, f = 0, logits = 0;
};

struct Shape {
  int hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0, num_attention_heads = 0,
      num_key_value_heads = 0, head_dim = 0, vocab_size = 0;
};

struct Operation {
  StepKind kind = StepKind::kAdd;
  Buffer src = Buffer::kX, dst = Buffer::kX;
  int matrix = -1, gain = -1, bias = -1, gate = -1;  // indices into the model
  int table = -1;                                    // of angles; -1: not turned
  int layer = 0, heads = 0, window = 0;   // window 0: all positions
  int64_t epsilon = 0;                    // of a norm
  int bits = 8;                           // of the activations this step quantises, or multiplies
  bool barrier = false;  // reads or overwrites what another thread may still be working on
  bool wanted = false;   // runs only for the tokens whose logits are asked for
};

struct Matrix {
  PackedMatrix packed;
  std::vector<uint8_t> multiplier;  // [tiles * 16], padding 0
  std::vector<int8_t> shift;        // [tiles * 16], padding 0
  int least_shift = 0, most_shift = 0;
  int sum_bits = 0;
};

// t of GATE_MUL: entries over 0 .. 2^range_bits, the last one twice (|g| at the range's end).
struct GateTable {
  std::vector<int32_t> entries;
  int range_bits = 0;
};

struct RopeTable {
  std::vector<int16_t> coarse, fine;  // [rows][head_dim / 2][cos, sin]
};

struct Model {
  Shape shape;
  Points points;
  int context = 0;
  std::vector<Operation> operations;
  std::vector<Matrix> matrices;
  std::vector<std::vector<int32_t>> gains, biases;
  std::vector<int32_t> exp2, rsqrt, reciprocal, log2, tail;
  std::vector<GateTable> gates;
  std::vector<RopeTable> ropes;
  const Path* path = nullptr;

  int q_width() const { return shape.num_attention_heads * shape.head_dim; }
  int kv_width() const { return shape.num_key_value_heads * shape.head_dim; }
  int width(Buffer buffer) const {
    switch (buffer) {
      case Buffer::kQ: case Buffer::kA: return q_width();
      case Buffer::kK: case Buffer::kV: return kv_width();
      case Buffer::kG: case Buffer::kU: case Buffer::kF: return shape.intermediate_size;
      case Buffer::kLogits: return shape.vocab_size;
      default: return shape.hidden_size;
    }
  }
};

}  // namespace hardcast
