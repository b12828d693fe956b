// MATVEC: a matrix product and the rounding that follows it.

#pragma once

#include <cstdint>

#include "activations.h"
#include "model.h"
#include "steps/norm.h"

namespace hardcast {

// golden/steps.py matvec() of the tiles [tile_begin, tile_end).
// bits: of a code in x, whose buffer may be made for wider ones. scales: one a token.
// bias: int32[tiles * 16] or null; out: int32[tokens][matrix rows] at point_out.
void matvec(const Model& model, const Matrix& matrix, const Activations& x, int bits,
            const Scale* scales, int point_out, const int32_t* bias, int tile_begin,
            int tile_end, int32_t* out);

}  // namespace hardcast
