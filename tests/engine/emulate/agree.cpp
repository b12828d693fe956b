// Every path that this program's CPU (or its emulator) can run against the plain definition, over
// random matrices and inputs. No Python, so that it cross-compiles: test_emulated_paths.py.

#include <cstdio>
#include <random>
#include <vector>

#include "kernels.h"

using namespace hardcast;

namespace {

std::mt19937 generator(1);

int draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

struct Case {
  MatrixSource source;
  std::vector<int16_t> codebook;
  std::vector<uint8_t> codes, scales;
  std::vector<int16_t> offsets;
  std::vector<int64_t> integers;  // [rows][cols]

  Case() {
    source.rows = draw(1, 70);
    source.cols = draw(1, 300);
    source.bits = draw(0, 1) ? 4 : 8;
    source.group_size = 32 * draw(1, 2);
    const int levels = 1 << source.bits;
    const int first = source.bits == 8 ? -128 : draw(-8, 0);
    for (int q = 0; q < levels; ++q) codebook.push_back(static_cast<int16_t>(first + q));
    const int row_bytes = (source.cols * source.bits + 7) / 8;
    const int groups = (source.cols + source.group_size - 1) / source.group_size;
    for (int i = 0; i < source.rows * row_bytes; ++i) {
      codes.push_back(draw(0, 3) ? draw(0, 255) : 255);
    }
    const bool has_offsets = draw(0, 1);
    for (int i = 0; i < source.rows * groups; ++i) {
      scales.push_back(draw(0, 3) ? draw(0, 255) : 255);
      offsets.push_back(has_offsets ? draw(-32768, 32767) : 0);
    }
    for (int r = 0; r < source.rows; ++r) {
      for (int c = 0; c < source.cols; ++c) {
        const uint8_t* const row = &codes[static_cast<size_t>(r) * row_bytes];
        const int code = source.bits == 8 ? row[c] : row[c / 2] >> (4 * (c % 2)) & 15;
        const int at = r * groups + c / source.group_size;
        integers.push_back(scales[at] * codebook[code] + offsets[at]);
      }
    }
    source.codebook = codebook.data();
    source.codes = codes.data();
    source.scales = scales.data();
    source.offsets = has_offsets ? offsets.data() : nullptr;
  }
};

bool agrees(const Path& path) {
  for (int round = 0; round < 300; ++round) {
    const Case c;
    const PackedMatrix matrix = pack(c.source);
    const int bits = draw(8, 15), tokens = draw(1, 12), top = 1 << (bits - 1);
    ActivationBuffer x;
    x.resize(tokens, matrix.cols, bits, 7);
    for (int t = 0; t < tokens; ++t) {
      const int kind = draw(0, 3);
      for (int i = 0; i < matrix.cols; ++i) {
        x.x(t)[i] = kind == 1 ? -top : kind == 2 ? top - 1 : draw(-top, top - 1);
      }
      for (int b = 0; b < matrix.blocks; ++b) x.exponents(t)[b] = draw(0, 7);
    }
    x.finish();
    bool same = true;
    auto compare = [&](int tile, int first, int count, const int64_t* sums) {
      for (int i = 0; i < count * kTileRows; ++i) {
        const int row = tile * kTileRows + i % kTileRows, token = first + i / kTileRows;
        int64_t expected = 0;
        for (int k = 0; row < matrix.rows && k < matrix.cols; ++k) {
          expected += c.integers[static_cast<size_t>(row) * matrix.cols + k] *
                      x.x(token)[k] * (int64_t{1} << x.exponents(token)[k / kBlock]);
        }
        same = same && sums[i] == expected;
      }
    };
    path.multiply(matrix, x.view(), 0, matrix.tiles, make_sink(compare));
    if (!same) return false;
  }
  return true;
}

}  // namespace

int main() {
  int failures = 0;
  for (const Path* path : available_paths()) {
    const bool good = agrees(*path);
    std::printf("%s %s\n", path->name, good ? "equal" : "DIFFERS");
    failures += !good;
  }
  return failures;
}
