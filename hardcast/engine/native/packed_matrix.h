// A matrix as every kernel reads it: the same bytes on every instruction set, packed once.
//
// What a matrix means (image/matrix.py): integer[row][i] = scale[row][g] * value[row][i] +
// offset[row][g], g = i / group_size. Here columns are padded to blocks of 64 and rows to tiles of
// 16 (scale 0, so padding adds nothing), and value = code + zero with an unsigned code.
//
// One record holds one block of one tile; a tile's records follow one another, tiles too:
//
//   codes    vectors of 64 bytes = 16 rows x 4 bytes, row r at bytes 4r..4r+3
//              Kind::U4  8 vectors; byte i of vector j: column 8j+i low, column 8j+4+i high nibble
//              Kind::U8  16 vectors; byte i of vector j: column 4j+i
//   scales   uint8[2 groups][16 rows]; a group here is always 32 columns
//   offsets  int16[16 rows][2 groups], only when has_offsets

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "memory.h"

namespace hardcast {

constexpr int kTileRows = 16;
constexpr int kBlock = 64;  // columns a block: one activation exponent
constexpr int kGroup = 32;  // columns a group of the packed form; an image's groups are multiples

enum class Kind : uint8_t { U4, U8 };

// The image's matrix, borrowed. codes: [planes][rows][ceil(cols * bits / 8)], little-endian bits.
struct MatrixSource {
  int rows = 0, cols = 0;
  int bits = 4, planes = 1, group_size = 32;
  const int16_t* codebook = nullptr;  // [2^bits]
  const uint8_t* codes = nullptr;
  const uint8_t* scales = nullptr;   // [rows][ceil(cols / group_size)]
  const int16_t* offsets = nullptr;  // same shape, or null
};

struct PackedMatrix {
  Kind kind = Kind::U4;
  bool has_offsets = false;
  int zero = 0;  // value = code + zero; -128..127
  int rows = 0, cols = 0;
  int tiles = 0, blocks = 0;
  size_t record_bytes = 0;
  const uint8_t* data = nullptr;  // 64-byte aligned, tiles * blocks * record_bytes
  std::shared_ptr<Arena> memory;  // owner of data

  size_t tile_bytes() const { return record_bytes * blocks; }
  size_t bytes() const { return tile_bytes() * tiles; }
  size_t code_bytes() const { return kind == Kind::U4 ? 512 : 1024; }
  const uint8_t* tile(int index) const { return data + tile_bytes() * index; }
};

// Throws std::invalid_argument unless rows, cols, bits, planes and group_size are supported.
void check_shape(const MatrixSource& source);

// What pack() will take from an arena for this matrix.
size_t packed_bytes(const MatrixSource& source);

// Packs into `arena`, or into memory of its own when arena is null.
// Throws std::invalid_argument when the shape or a value (not in int8) breaks the format.
PackedMatrix pack(const MatrixSource& source, std::shared_ptr<Arena> arena = nullptr);

// out[cols] = scale * value + offset of one row (EMBED reads the tied head this way).
void decode_row(const PackedMatrix& matrix, int row, int32_t* out);

}  // namespace hardcast
