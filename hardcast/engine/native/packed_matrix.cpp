#include "packed_matrix.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace hardcast {

namespace {

struct Plan {
  Kind kind;
  int zero;          // value = code + zero
  bool has_offsets;  // offsets stored in the records
  bool folded;       // stored offset = offset + scale * zero, and zero becomes 0
};

int source_groups(const MatrixSource& m) { return (m.cols + m.group_size - 1) / m.group_size; }

// Codes fit a nibble with value = code + codebook[0] when the codebook is evenly spaced by one.
bool is_affine(const MatrixSource& m) {
  if (m.planes != 1 || m.bits > 4) return false;
  for (int q = 0; q < (1 << m.bits); ++q) {
    if (m.codebook[q] != m.codebook[0] + q) return false;
  }
  return m.codebook[0] >= -128 && m.codebook[0] + (1 << m.bits) - 1 <= 127;
}

Plan plan_for(const MatrixSource& m) {
  Plan plan{Kind::U8, -128, m.offsets != nullptr, false};
  if (is_affine(m)) {
    plan.kind = Kind::U4;
    plan.zero = m.codebook[0];
  }
  if (plan.zero == 0 || m.offsets == nullptr) return plan;
  // The zero is free where offsets are stored anyway, if every sum stays within int16.
  const size_t count = static_cast<size_t>(m.rows) * source_groups(m);
  for (size_t i = 0; i < count; ++i) {
    const int offset = m.offsets[i] + m.scales[i] * plan.zero;
    if (offset < INT16_MIN || offset > INT16_MAX) return plan;
  }
  plan.folded = true;
  return plan;
}

size_t record_size(Kind kind, bool has_offsets) {
  return (kind == Kind::U4 ? 512 : 1024) + 32 + (has_offsets ? 64 : 0);
}

// Codes of one plane of one row, one byte each.
void read_plane(const uint8_t* in, int bits, int cols, uint8_t* out) {
  if (bits == 4) {
    int i = 0;
    for (; i + 1 < cols; i += 2) {
      out[i] = in[i / 2] & 15;
      out[i + 1] = in[i / 2] >> 4;
    }
    if (i < cols) out[i] = in[i / 2] & 15;
    return;
  }
  if (bits == 8) {
    std::memcpy(out, in, cols);
    return;
  }
  const unsigned mask = (1u << bits) - 1;
  unsigned window = 0;
  int held = 0;
  for (int i = 0; i < cols; ++i) {
    if (held < bits) {
      window |= static_cast<unsigned>(*in++) << held;
      held += 8;
    }
    out[i] = window & mask;
    window >>= bits;
    held -= bits;
  }
}

class RowReader {
 public:
  RowReader(const MatrixSource& source, const Plan& plan)
      : source_(source), plan_(plan), low_(source.cols) {
    plane_row_ = (static_cast<size_t>(source.cols) * source.bits + 7) / 8;
    if (plan.kind == Kind::U4) return;
    const int levels = 1 << source.bits;
    const int lows = source.planes == 2 ? levels : 1;
    for (int high = 0; high < levels; ++high) {
      for (int low = 0; low < lows; ++low) {
        const int value = source.codebook[high] * (source.planes == 2 ? levels : 1) + low;
        byte_.push_back(static_cast<uint8_t>(value + 128));
        bad_.push_back(value < -128 || value > 127);
      }
    }
  }

  // out[cols]: the unsigned codes of the packed form.
  void read(int row, uint8_t* out) {
    const uint8_t* const plane = source_.codes + plane_row_ * row;
    read_plane(plane, source_.bits, source_.cols, out);
    if (plan_.kind == Kind::U4) return;
    if (source_.planes == 2) {
      read_plane(plane + plane_row_ * source_.rows, source_.bits, source_.cols, low_.data());
    }
    for (int i = 0; i < source_.cols; ++i) {
      const int index = source_.planes == 2 ? out[i] << source_.bits | low_[i] : out[i];
      if (bad_[index]) throw std::invalid_argument("matrix holds a value outside -128..127");
      out[i] = byte_[index];
    }
  }

 private:
  const MatrixSource& source_;
  const Plan& plan_;
  std::vector<uint8_t> low_, byte_;
  std::vector<uint8_t> bad_;
  size_t plane_row_;
};

// Spreads one row's codes over its 4-byte slots in the records of its tile.
void place_codes(const PackedMatrix& m, const uint8_t* codes, int lane, uint8_t* tile) {
  for (int b = 0; b < m.blocks; ++b, codes += kBlock, tile += m.record_bytes) {
    uint8_t* slot = tile + 4 * lane;
    if (m.kind == Kind::U8) {
      for (int j = 0; j < 16; ++j) std::memcpy(slot + 64 * j, codes + 4 * j, 4);
      continue;
    }
    for (int j = 0; j < 8; ++j) {
      uint32_t low, high;
      std::memcpy(&low, codes + 8 * j, 4);
      std::memcpy(&high, codes + 8 * j + 4, 4);
      low |= high << 4;  // codes are below 16, so bytes stay apart
      std::memcpy(slot + 64 * j, &low, 4);
    }
  }
}

}  // namespace

void check_shape(const MatrixSource& m) {
  if (m.rows < 1 || m.cols < 1) throw std::invalid_argument("matrix has no rows or no columns");
  if (m.bits < 1 || m.bits > 8 || m.planes < 1 || m.planes > 2 || m.bits * m.planes > 8) {
    throw std::invalid_argument("matrix needs 1..8 bits a weight in 1 or 2 planes");
  }
  if (m.group_size < kGroup || m.group_size % kGroup != 0) {
    throw std::invalid_argument("group_size must be a multiple of 32");
  }
}

size_t packed_bytes(const MatrixSource& source) {
  check_shape(source);
  const size_t tiles = (source.rows + kTileRows - 1) / kTileRows;
  const size_t blocks = (source.cols + kBlock - 1) / kBlock;
  const Kind kind = is_affine(source) ? Kind::U4 : Kind::U8;
  return arena_bytes(tiles * blocks * record_size(kind, source.offsets != nullptr));
}

PackedMatrix pack(const MatrixSource& source, std::shared_ptr<Arena> arena) {
  check_shape(source);
  const Plan plan = plan_for(source);
  PackedMatrix m;
  m.kind = plan.kind;
  m.has_offsets = plan.has_offsets;
  m.zero = plan.folded ? 0 : plan.zero;
  m.rows = source.rows;
  m.cols = source.cols;
  m.tiles = (source.rows + kTileRows - 1) / kTileRows;
  m.blocks = (source.cols + kBlock - 1) / kBlock;
  m.record_bytes = record_size(m.kind, m.has_offsets);
  m.memory = arena ? std::move(arena) : std::make_shared<Arena>(arena_bytes(m.bytes()));
  uint8_t* const data = m.memory->take(m.bytes());  // fresh from mmap: all zero
  m.data = data;

  RowReader reader(source, plan);
  const int groups = source_groups(source);
  std::vector<uint8_t> codes(static_cast<size_t>(m.blocks) * kBlock, 0);
  for (int row = 0; row < m.rows; ++row) {
    uint8_t* const tile = data + m.tile_bytes() * (row / kTileRows);
    const int lane = row % kTileRows;
    reader.read(row, codes.data());
    place_codes(m, codes.data(), lane, tile);
    for (int b = 0; b < m.blocks; ++b) {
      uint8_t* const scales = tile + m.record_bytes * b + m.code_bytes();
      for (int g = 0; g < 2; ++g) {
        const int column = b * kBlock + g * kGroup;
        if (column >= m.cols) continue;
        const size_t at = static_cast<size_t>(row) * groups + column / source.group_size;
        scales[kTileRows * g + lane] = source.scales[at];
        if (!m.has_offsets) continue;
        const int16_t offset = static_cast<int16_t>(
            source.offsets[at] + (plan.folded ? source.scales[at] * plan.zero : 0));
        std::memcpy(scales + 32 + 2 * (2 * lane + g), &offset, sizeof offset);
      }
    }
  }
  return m;
}

void decode_row(const PackedMatrix& m, int row, int32_t* out) {
  const uint8_t* record = m.tile(row / kTileRows);
  const int lane = row % kTileRows;
  for (int b = 0; b < m.blocks; ++b, record += m.record_bytes) {
    const uint8_t* const scales = record + m.code_bytes();
    const int columns = std::min(kBlock, m.cols - b * kBlock);
    for (int i = 0; i < columns; ++i) {
      int code;
      if (m.kind == Kind::U8) {
        code = record[64 * (i / 4) + 4 * lane + i % 4];
      } else {
        code = record[64 * (i / 8) + 4 * lane + i % 4] >> (i % 8 < 4 ? 0 : 4) & 15;
      }
      const int g = i / kGroup;
      int16_t offset = 0;
      if (m.has_offsets) std::memcpy(&offset, scales + 32 + 2 * (2 * lane + g), sizeof offset);
      *out++ = scales[kTileRows * g + lane] * (code + m.zero) + offset;
    }
  }
}

}  // namespace hardcast
