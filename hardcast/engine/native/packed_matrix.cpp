#include "packed_matrix.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace hardcast {

namespace {

// How a source is packed. A weight's index is its code, or high code * 2^bits + low code.
struct Plan {
  Kind kind;
  std::vector<int> values;  // of each index
  int zero;                 // value = level + zero
  bool folded = false;      // stored offset = offset + scale * zero, and zero becomes 0
};

int source_groups(const MatrixSource& m) { return (m.cols + m.group_size - 1) / m.group_size; }

bool outside_int8(int value) { return value < -128 || value > 127; }

// The smallest kind that holds the indices: through a table up to 3 bits; as they are where values
// go up by one each time; through a table of 4 bits; else as levels.
Plan plan_for(const MatrixSource& m) {
  Plan plan;
  const int bits = m.bits * m.planes, levels = 1 << m.bits;
  bool even = true;
  for (int i = 0; i < 1 << bits; ++i) {
    plan.values.push_back(m.planes == 2 ? m.codebook[i / levels] * levels + i % levels
                                        : m.codebook[i]);
    even = even && plan.values[i] == plan.values[0] + i;
  }
  plan.zero = *std::min_element(plan.values.begin(), plan.values.end());
  plan.kind = bits <= 3   ? Kind::L3
              : bits <= 4 ? (even ? Kind::U4 : Kind::L4)
              : bits <= 6 && even ? Kind::U6
                                  : Kind::U8;
  if (std::any_of(plan.values.begin(), plan.values.end(), outside_int8)) {
    plan.kind = Kind::U8;  // refused only where such a value is used
    plan.zero = -128;
  }
  return plan;
}

// The zero is free where offsets are stored anyway, if every sum stays within int16.
bool can_fold(const MatrixSource& m, int zero) {
  if (zero == 0 || m.offsets == nullptr) return false;
  const size_t count = static_cast<size_t>(m.rows) * source_groups(m);
  for (size_t i = 0; i < count; ++i) {
    const int offset = m.offsets[i] + m.scales[i] * zero;
    if (offset < INT16_MIN || offset > INT16_MAX) return false;
  }
  return true;
}

size_t record_size(Kind kind, bool has_offsets) {
  return code_bytes(kind) + 32 + (has_offsets ? 64 : 0);
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
  }

  // out[cols]: the codes of the packed form.
  void read(int row, uint8_t* out) {
    const uint8_t* const plane = source_.codes + plane_row_ * row;
    read_plane(plane, source_.bits, source_.cols, out);
    if (source_.planes == 2) {
      read_plane(plane + plane_row_ * source_.rows, source_.bits, source_.cols, low_.data());
      for (int i = 0; i < source_.cols; ++i) {
        out[i] = static_cast<uint8_t>(out[i] << source_.bits | low_[i]);
      }
    }
    if (plan_.kind != Kind::U8) return;
    for (int i = 0; i < source_.cols; ++i) {
      const int value = plan_.values[out[i]];
      if (outside_int8(value)) {
        throw std::invalid_argument("matrix holds a value outside -128..127");
      }
      out[i] = static_cast<uint8_t>(value - plan_.zero);
    }
  }

 private:
  const MatrixSource& source_;
  const Plan& plan_;
  std::vector<uint8_t> low_;
  size_t plane_row_;
};

// Four bytes of one row in a vector of a record.
uint32_t bytes_of(const uint8_t* slot, int vector) {
  uint32_t four;
  std::memcpy(&four, slot + 64 * vector, sizeof four);
  return four;
}

void add_bytes(uint8_t* slot, int vector, uint32_t four) {
  four |= bytes_of(slot, vector);
  std::memcpy(slot + 64 * vector, &four, sizeof four);
}

// Writes the codes of columns 4q .. 4q+3, one in each byte of `four`, into a slot that was zero.
void put(Kind kind, uint8_t* slot, int q, uint32_t four) {
  if (kind == Kind::U8) return add_bytes(slot, q, four);
  if (kind == Kind::U6) {
    const int first = q / 4 * 3;
    if (q % 4 < 3) return add_bytes(slot, first + q % 4, four);
    for (int v = 0; v < 3; ++v) add_bytes(slot, first + v, (four >> 2 * v & 0x03030303) << 6);
    return;
  }
  const int shift = 4 * (q % 2);
  if (kind != Kind::L3) return add_bytes(slot, q / 2, four << shift);
  const int first = q / 8 * 3;
  if (q % 8 < 6) return add_bytes(slot, first + q % 8 / 2, four << shift);
  for (int v = 0; v < 3; ++v) {
    add_bytes(slot, first + v, (four >> (2 - v) & 0x01010101) << (3 + shift));
  }
}

// The inverse of put().
uint32_t get(Kind kind, const uint8_t* slot, int q) {
  if (kind == Kind::U8) return bytes_of(slot, q);
  uint32_t four = 0;
  if (kind == Kind::U6) {
    const int first = q / 4 * 3;
    if (q % 4 < 3) return bytes_of(slot, first + q % 4) & 0x3f3f3f3f;
    for (int v = 0; v < 3; ++v) four |= (bytes_of(slot, first + v) >> 6 & 0x03030303) << 2 * v;
    return four;
  }
  const int shift = 4 * (q % 2);
  if (kind != Kind::L3) return bytes_of(slot, q / 2) >> shift & 0x0f0f0f0f;
  const int first = q / 8 * 3;
  if (q % 8 < 6) return bytes_of(slot, first + q % 8 / 2) >> shift & 0x07070707;
  for (int v = 0; v < 3; ++v) {
    four |= (bytes_of(slot, first + v) >> (3 + shift) & 0x01010101) << (2 - v);
  }
  return four;
}

// Spreads one row's codes over its 4-byte slots in the records of its tile.
void place_codes(const PackedMatrix& m, const uint8_t* codes, int lane, uint8_t* tile) {
  for (int b = 0; b < m.blocks; ++b, tile += m.record_bytes) {
    for (int q = 0; q < kBlock / 4; ++q, codes += 4) {
      put(m.kind, tile + 4 * lane, q, bytes_of(codes, 0));
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
  const Kind kind = plan_for(source).kind;
  return arena_bytes(tiles * blocks * record_size(kind, source.offsets != nullptr));
}

PackedMatrix pack(const MatrixSource& source, std::shared_ptr<Arena> arena) {
  check_shape(source);
  Plan plan = plan_for(source);
  plan.folded = can_fold(source, plan.zero);
  PackedMatrix m;
  m.kind = plan.kind;
  m.has_offsets = source.offsets != nullptr;
  m.zero = plan.folded ? 0 : plan.zero;
  m.span = std::min(*std::max_element(plan.values.begin(), plan.values.end()), 127) - plan.zero;
  if (m.kind == Kind::L3 || m.kind == Kind::L4) {
    for (size_t i = 0; i < 16; ++i) {
      m.table[i] = static_cast<uint8_t>(plan.values[i % plan.values.size()] - plan.zero);
    }
    for (int i = 0; i < 16; ++i) m.doubled[i] = m.table[i / 2];
  }
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
      uint8_t* const scales = tile + m.record_bytes * b + code_bytes(m.kind);
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
  const bool looked_up = m.kind == Kind::L3 || m.kind == Kind::L4;
  for (int b = 0; b < m.blocks; ++b, record += m.record_bytes) {
    const uint8_t* const scales = record + code_bytes(m.kind);
    const int columns = std::min(kBlock, m.cols - b * kBlock);
    uint8_t codes[kBlock];
    for (int q = 0; q < kBlock / 4; ++q) {
      const uint32_t four = get(m.kind, record + 4 * lane, q);
      std::memcpy(codes + 4 * q, &four, sizeof four);
    }
    for (int i = 0; i < columns; ++i) {
      const int level = looked_up ? m.table[codes[i]] : codes[i];
      const int g = i / kGroup;
      int16_t offset = 0;
      if (m.has_offsets) std::memcpy(&offset, scales + 32 + 2 * (2 * lane + g), sizeof offset);
      *out++ = scales[kTileRows * g + lane] * (level + m.zero) + offset;
    }
  }
}

}  // namespace hardcast
