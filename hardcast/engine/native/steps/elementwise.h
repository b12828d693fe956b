// ROPE and GATE_MUL, on one head or one block at a time.

#pragma once

#include <cstdint>

#include "activations.h"
#include "model.h"

namespace hardcast {

// cos and sin of one position in one of the model's tables: int32[head_dim / 2] each, 14 fraction
// bits.
void rope_angles(const Model& model, const RopeTable& table, int position, int32_t* cosine,
                 int32_t* sine);

// golden/steps.py rope() of one head. x: int32[head_dim] at points.qk, in place to points.rope.
void rope_head(const Model& model, const int32_t* cosine, const int32_t* sine, int32_t* x);

// golden/steps.py unturned() of one head, in place.
void unturned_head(const Model& model, int32_t* x);

// golden/steps.py gate_mul() of one block of up to 64: codes, exponent and digits of `out`.
void gate_block(const Model& model, const GateTable& gate, const int32_t* g, const int32_t* u,
                int bits, int token, int block, ActivationBuffer& out);

}  // namespace hardcast
