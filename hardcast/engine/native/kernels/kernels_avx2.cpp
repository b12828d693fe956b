// AVX2 (compiled with -mavx2). A ymm holds 8 rows x 4 columns of codes: half a tile.
//
// There is no dot product into int32 here, but two exact ways around it: avx2_bytes.h and
// avx2_words.h. Both leave a block's sum in int32 where that holds it (activations.cpp: why).

#include "kernels/avx2_bytes.h"
#include "kernels/avx2_words.h"
#include "kernels/paths.h"

namespace hardcast {

namespace {

template <Kind kKind>
void multiply_kind(const PackedMatrix& matrix, const Activations& x, int begin, int end,
                   Sink sink) {
  if (x.wide) return drive<Words<kKind, true>>(matrix, x, begin, end, sink);
  if (matrix.span > (x.bits > 8 ? 127 : 63)) {
    return drive<Words<kKind, false>>(matrix, x, begin, end, sink);
  }
  if (x.bits > 8) return drive<Bytes<kKind, 8, 2>>(matrix, x, begin, end, sink);
  if constexpr (kKind == Kind::U4) return drive<Bytes<kKind, 8, 1>>(matrix, x, begin, end, sink);
  if (matrix.span <= 31) return drive<Bytes<kKind, 4, 1>>(matrix, x, begin, end, sink);
  drive<Bytes<kKind, 2, 1>>(matrix, x, begin, end, sink);
}

void multiply(const PackedMatrix& matrix, const Activations& x, int begin, int end, Sink sink) {
  switch (matrix.kind) {
    case Kind::L3: return multiply_kind<Kind::L3>(matrix, x, begin, end, sink);
    case Kind::U4: return multiply_kind<Kind::U4>(matrix, x, begin, end, sink);
    case Kind::L4: return multiply_kind<Kind::L4>(matrix, x, begin, end, sink);
    case Kind::U6: return multiply_kind<Kind::U6>(matrix, x, begin, end, sink);
    case Kind::U8: return multiply_kind<Kind::U8>(matrix, x, begin, end, sink);
  }
}

}  // namespace

const Path kAvx2{"avx2", multiply, true};

}  // namespace hardcast
