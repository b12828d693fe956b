// MATVEC: a matrix product and the rounding that follows it.

#pragma once

#include <cstdint>

#include "activations.h"
#include "model.h"
#include "norm.h"

namespace hardcast {

// golden/steps.py matvec() of the tiles [tile_begin, tile_end).
// scales: one a token. point_in: of the blocks; norm_extra after a NORM.
// bias: int32[tiles * 16] or null; out: int32[tokens][matrix rows] at point_out.
void matvec(const Model& model, const Matrix& matrix, const Activations& x,
            const Scale* scales, int point_in, int point_out, const int32_t* bias,
            int tile_begin, int tile_end, int32_t* out);

}  // namespace hardcast
