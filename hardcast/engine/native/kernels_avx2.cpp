// AVX2 (compiled with -mavx2). A ymm holds 8 rows x 4 columns of codes: half a tile.
//
// There is no dot product into int32 here, but two exact ways around it: avx2_nibbles.h and
// avx2_words.h. Both leave a block's sum in int32 where that holds it (activations.cpp: why).

#include "avx2_nibbles.h"
#include "avx2_words.h"
#include "paths.h"

namespace hardcast {

namespace {

void multiply(const PackedMatrix& matrix, const Activations& x, int begin, int end, Sink sink) {
  if (matrix.kind == Kind::U8) {
    if (x.wide) return drive<Words<Kind::U8, true>>(matrix, x, begin, end, sink);
    return drive<Words<Kind::U8, false>>(matrix, x, begin, end, sink);
  }
  if (x.wide) return drive<Words<Kind::U4, true>>(matrix, x, begin, end, sink);
  if (x.bits > 8) return drive<Words<Kind::U4, false>>(matrix, x, begin, end, sink);
  drive<Nibbles>(matrix, x, begin, end, sink);
}

}  // namespace

const Path kAvx2{"avx2", multiply, true};

}  // namespace hardcast
