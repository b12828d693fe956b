// The loops around a kernel, shared by all instruction sets. Included by the kernels_*.cpp only.
//
// A kernel K works on one record (16 rows x 64 columns) and up to K::kTokens tokens:
//
//   K::Block                                       one record, ready in L1 for many tokens
//   K::open(matrix, record, block)                 packed record -> Block
//   K::packed<N>(matrix, record, x, t, b, sums)    sums[N][16] += the record times tokens t..t+N-1
//   K::opened<N>(block, x, t, b, sums)             the same from a Block
//   K::finish(sums)                                brings the kernel's own row order into 0..15
//
// Everything here is in an unnamed namespace on purpose: the same template compiled in two files
// with different -m flags must never be merged by the linker.

#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"

namespace hardcast {
namespace {

// A function of many instances that must not be copied into each caller.
#define HARDCAST_SHARED __attribute__((noinline))

constexpr int kStreams = 4;        // tiles read in turn: as many streams as the prefetchers follow
constexpr int kStreamTokens = 8;   // up to here records are read straight from memory
constexpr int kChunkTokens = 64;   // tokens a chunk of the GEMM: 8 KB of sums, digits fit in L2

template <class K, int N>
inline void packed_tail(const PackedMatrix& matrix, const uint8_t* record, const Activations& x,
                        int t, int b, int64_t* sums, int left) {
  if constexpr (N > 0) {
    if (left == N) return K::template packed<N>(matrix, record, x, t, b, sums);
    packed_tail<K, N - 1>(matrix, record, x, t, b, sums, left);
  }
}

template <class K, int N>
inline void opened_tail(const typename K::Block& block, const Activations& x, int t, int b,
                        int64_t* sums, int left) {
  if constexpr (N > 0) {
    if (left == N) return K::template opened<N>(block, x, t, b, sums);
    opened_tail<K, N - 1>(block, x, t, b, sums, left);
  }
}

// Few tokens: bound by memory. The range is cut into four runs of tiles and the four are walked
// together, record by record, so that memory always sees four long sequential streams. Long runs
// are a tile apart from even, so that a power of two between them cannot put all four streams
// into the same cache sets.
template <class K>
void stream(const PackedMatrix& matrix, const Activations& x, int begin, int end, Sink sink) {
  alignas(64) int64_t sums[kStreams][kStreamTokens][kTileRows];
  const int count = end - begin;
  int first[kStreams + 1];
  for (int s = 0; s <= kStreams; ++s) {
    const bool staggered = count >= 16 * kStreams && s < kStreams;
    first[s] = begin + count * s / kStreams + (staggered ? s : 0);
  }
  int longest = 0;
  for (int s = 0; s < kStreams; ++s) longest = std::max(longest, first[s + 1] - first[s]);
  for (int step = 0; step < longest; ++step) {
    const uint8_t* record[kStreams];
    int tile[kStreams];
    int streams = 0;
    for (int s = 0; s < kStreams; ++s) {
      if (first[s] + step >= first[s + 1]) continue;
      tile[streams] = first[s] + step;
      record[streams] = matrix.tile(tile[streams]);
      ++streams;
    }
    for (int s = 0; s < streams; ++s) {
      std::memset(sums[s], 0, sizeof(int64_t) * kTileRows * x.tokens);
    }
    for (int b = 0; b < matrix.blocks; ++b) {
      for (int s = 0; s < streams; ++s) {
        int t = 0;
        for (; t + K::kTokens <= x.tokens; t += K::kTokens) {
          K::template packed<K::kTokens>(matrix, record[s], x, t, b, sums[s][t]);
        }
        packed_tail<K, K::kTokens - 1>(matrix, record[s], x, t, b, sums[s][t], x.tokens - t);
        record[s] += matrix.record_bytes;
      }
    }
    for (int s = 0; s < streams; ++s) {
      for (int t = 0; t < x.tokens; ++t) K::finish(sums[s][t]);
      sink(tile[s], 0, x.tokens, sums[s][0]);
    }
  }
}

// Many tokens: bound by arithmetic. Each record is opened once a chunk and meets all its tokens.
template <class K>
void chunks(const PackedMatrix& matrix, const Activations& x, int begin, int end, Sink sink) {
  alignas(64) int64_t sums[kChunkTokens][kTileRows];
  typename K::Block block;
  for (int start = 0; start < x.tokens; start += kChunkTokens) {
    const int tokens = x.tokens - start < kChunkTokens ? x.tokens - start : kChunkTokens;
    for (int tile = begin; tile < end; ++tile) {
      const uint8_t* record = matrix.tile(tile);
      std::memset(sums, 0, sizeof(int64_t) * kTileRows * tokens);
      for (int b = 0; b < matrix.blocks; ++b, record += matrix.record_bytes) {
        K::open(matrix, record, block);
        int t = 0;
        for (; t + K::kTokens <= tokens; t += K::kTokens) {
          K::template opened<K::kTokens>(block, x, start + t, b, sums[t]);
        }
        opened_tail<K, K::kTokens - 1>(block, x, start + t, b, sums[t], tokens - t);
      }
      for (int t = 0; t < tokens; ++t) K::finish(sums[t]);
      sink(tile, start, tokens, sums[0]);
    }
  }
}

template <class K>
void drive(const PackedMatrix& matrix, const Activations& x, int begin, int end, Sink sink) {
  if (x.tokens <= kStreamTokens) {
    stream<K>(matrix, x, begin, end, sink);
  } else {
    chunks<K>(matrix, x, begin, end, sink);
  }
}

}  // namespace
}  // namespace hardcast
