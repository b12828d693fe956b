// A matrix as every kernel reads it: the same bytes on every instruction set, packed once.
//
// What a matrix means (image/matrix.py): integer[row][i] = scale[row][g] * value[row][i] +
// offset[row][g], g = i / group_size. Here columns are padded to blocks of 64 and rows to tiles of
// 16 (scale 0, so padding adds nothing), and value = level + zero with an unsigned level 0..span:
// the stored code itself (Kind::U*), or what the matrix's table holds for it (Kind::L*).
//
// One record holds one block of one tile; a tile's records follow one another, tiles too:
//
//   codes    vectors of 64 bytes = 16 rows x 4 bytes, row r at bytes 4r..4r+3. Byte i of a vector
//            has codes of columns 4q+i; the vectors of q = 0..15 are
//              L3      6: q = 0..7 in three, 8..15 in the other three. q 0, 1 | 2, 3 | 4, 5 in bits
//                      0..2, 4..6; q 6 and 7 in bits 3 and 7 of all three, highest bit first
//              U4, L4  8: two q in each, low nibble and high nibble
//              U6     12: four q in three. q 0 | 1 | 2 in bits 0..5; q 3 in bits 6..7 of all three,
//                      lowest two bits first
//              U8     16: one q in each
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

enum class Kind : uint8_t { L3, U4, L4, U6, U8 };

// Bytes of the codes in one record.
constexpr int code_bytes(Kind kind) {
  return kind == Kind::L3 ? 384 : kind == Kind::U6 ? 768 : kind == Kind::U8 ? 1024 : 512;
}

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
  int zero = 0;  // value = level + zero; -128..127
  int span = 0;  // the largest level
  alignas(16) uint8_t table[16] = {};    // Kind::L*: level of a code; the bits above it are free
  alignas(16) uint8_t doubled[16] = {};  // the same by the code times 2
  int rows = 0, cols = 0;
  int tiles = 0, blocks = 0;
  size_t record_bytes = 0;
  const uint8_t* data = nullptr;  // 64-byte aligned, tiles * blocks * record_bytes
  std::shared_ptr<Arena> memory;  // owner of data

  size_t tile_bytes() const { return record_bytes * blocks; }
  size_t bytes() const { return tile_bytes() * tiles; }
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
