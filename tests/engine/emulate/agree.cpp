// Every path that this program's CPU (or its emulator) can run against the plain definition, over
// random matrices and inputs. No Python, so that it cross-compiles: test_emulated_paths.py.

#include <cstdio>
#include <random>
#include <vector>

#include "kernels/kernels.h"

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
    source.bits = draw(0, 3) ? draw(2, 4) : 8;
    source.planes = source.bits == 8 ? 1 : draw(1, 2);
    source.group_size = 32 * draw(1, 2);
    const int levels = 1 << source.bits, low_levels = source.planes == 2 ? levels : 1;
    const int least = -128 / low_levels, most = 127 / low_levels;
    const int first = source.planes == 2 ? -levels / 2 : source.bits == 8 ? -128 : draw(-8, 0);
    const bool even = source.bits == 8 || draw(0, 1);
    for (int q = 0; q < levels; ++q) {
      codebook.push_back(static_cast<int16_t>(even ? first + q : draw(least, most)));
    }
    const int row_bytes = (source.cols * source.bits + 7) / 8;
    const int groups = (source.cols + source.group_size - 1) / source.group_size;
    for (int i = 0; i < source.planes * source.rows * row_bytes; ++i) {
      codes.push_back(draw(0, 3) ? draw(0, 255) : 255);
    }
    const bool has_offsets = draw(0, 1);
    for (int i = 0; i < source.rows * groups; ++i) {
      scales.push_back(draw(0, 3) ? draw(0, 255) : 255);
      offsets.push_back(has_offsets ? draw(-32768, 32767) : 0);
    }
    for (int r = 0; r < source.rows; ++r) {
      for (int c = 0; c < source.cols; ++c) {
        int value = codebook[code(r, c, row_bytes)];
        if (source.planes == 2) {
          value = value * levels + code(source.rows + r, c, row_bytes);
        }
        const int at = r * groups + c / source.group_size;
        integers.push_back(scales[at] * value + offsets[at]);
      }
    }
    source.codebook = codebook.data();
    source.codes = codes.data();
    source.scales = scales.data();
    source.offsets = has_offsets ? offsets.data() : nullptr;
  }

  // Bits c * bits .. of a row, the planes' rows one after another.
  int code(int row, int c, int row_bytes) const {
    int result = 0;
    for (int bit = 0; bit < source.bits; ++bit) {
      const int at = c * source.bits + bit;
      result |= (codes[static_cast<size_t>(row) * row_bytes + at / 8] >> at % 8 & 1) << bit;
    }
    return result;
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
