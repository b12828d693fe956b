// Exact integer matrix products, one implementation an instruction set, chosen at run time.
//
//   sums[t][row] = sum over blocks b of P_b << exponent[t][b]                  (int64)
//   P_b = sum over the block's groups g of scale * sum(value * x) + offset * sum(x)
//
// Every path gives the same integers, whatever the number of tokens, tiles or threads.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "activations.h"
#include "packed_matrix.h"

namespace hardcast {

// Receives a finished tile while it is in L1: sums[tokens][16], rows 16 * tile .. 16 * tile + 15
// (the last tile's rows past matrix.rows are zero), tokens token_begin .. token_begin + tokens - 1.
struct Sink {
  void (*call)(void* context, int tile, int token_begin, int tokens, const int64_t* sums);
  void* context;

  void operator()(int tile, int token_begin, int tokens, const int64_t* sums) const {
    call(context, tile, token_begin, tokens, sums);
  }
};

// Sink over any callable (int tile, int token_begin, int tokens, const int64_t* sums); borrows it.
template <class F>
Sink make_sink(F& function) {
  return Sink{[](void* context, int tile, int token_begin, int tokens, const int64_t* sums) {
                (*static_cast<F*>(context))(tile, token_begin, tokens, sums);
              },
              &function};
}

// One way of multiplying. `multiply` is thread-safe: give threads disjoint tile ranges.
struct Path {
  const char* name;
  void (*multiply)(const PackedMatrix& matrix, const Activations& activations, int tile_begin,
                   int tile_end, Sink sink);
  bool avx2 = false;  // attention's sums and MATVEC's rounding may use AVX2 too
};

// What this CPU and operating system can run, fastest first; "portable" is always the last.
const std::vector<const Path*>& available_paths();

// The path named, or the fastest when the name is empty.
// Throws std::invalid_argument naming the available paths when this machine cannot run it.
const Path& find_path(const std::string& name = "");

}  // namespace hardcast
