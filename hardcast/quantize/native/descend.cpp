// The extension module hardcast.quantize._native: descent.py's loop over columns, bit for bit.
//
// Rows do not know of each other, so a tile of them goes through all columns of a group in the
// nearest cache. Every operation is rounded as NumPy's is: this file is compiled without
// contraction (a product and a difference are two roundings), and order is that of descent.py.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

// One function, compiled for several instruction sets and chosen when the module is loaded.
#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

constexpr int kLanes = 64;  // rows of a tile
constexpr int kParts = 4;   // vectors of a tile: sums that wait for nobody but themselves
typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Bits __attribute__((vector_size(64)));
static_assert(kParts * sizeof(Vector) == kLanes * sizeof(float), "a tile is its vectors");

struct alignas(64) Tile {
  Vector part[kParts];
};

// What a code can stand for: evenly spaced values, or a climb over the steps between two.
struct Levels {
  enum Kind { kEven, kMirrored, kUneven } kind = kEven;
  float least = 0, most = 0;             // values
  std::vector<float> border, rise;       // from where on, and by how much it climbs
};

template <Levels::Kind kKind>
INLINE void nearest(const Levels& levels, Vector& x) {
  if constexpr (kKind == Levels::kEven) {
    const Vector least = Vector{} + levels.least, most = Vector{} + levels.most;
    const Vector whole = Vector{} + 12582912.0f;  // 1.5 * 2^23: what is added to it has no fraction
    x = x < least ? least : x;
    x = x > most ? most : x;
    x = (x + whole) - whole;
  } else {
    Bits sign = Bits{};
    if constexpr (kKind == Levels::kMirrored) {
      sign = (Bits)x & (Bits{} + INT32_MIN);
      x = (Vector)((Bits)x ^ sign);
    }
    Vector value = Vector{} + levels.least;
    for (size_t i = 0; i < levels.border.size(); ++i) {
      const Vector rise = Vector{} + levels.rise[i];
      const Vector border = Vector{} + levels.border[i];
      value += x >= border ? rise : Vector{};
    }
    x = (Vector)((Bits)value | sign);
  }
}

// Rounds the columns of a tile one after the other. left, errors, values: [columns]; values may be
// null. factor: [columns][columns], transposed.
template <Levels::Kind kKind>
INLINE void descend_tile(const Tile* left, const Tile& steps, const float* factor, int columns,
                         const Levels& levels, Tile* errors, Tile* values) {
  Tile inverse;
  for (int p = 0; p < kParts; ++p) inverse.part[p] = 1.0f / steps.part[p];
  for (int k = 0; k < columns; ++k) {
    const float* row = factor + static_cast<size_t>(k) * columns;
    Vector a = left[k].part[0], b = left[k].part[1], c = left[k].part[2], d = left[k].part[3];
    for (int j = 0; j < k; ++j) {
      a -= row[j] * errors[j].part[0];
      b -= row[j] * errors[j].part[1];
      c -= row[j] * errors[j].part[2];
      d -= row[j] * errors[j].part[3];
    }
    const Tile now{{a, b, c, d}};
    for (int p = 0; p < kParts; ++p) {
      Vector value = now.part[p] * inverse.part[p];
      nearest<kKind>(levels, value);
      if (values != nullptr) values[k].part[p] = value;
      errors[k].part[p] = (now.part[p] - value * steps.part[p]) / row[k];
    }
  }
}

CLONES void descend_even(const Tile* left, const Tile& steps, const float* factor, int columns,
                         const Levels& levels, Tile* errors, Tile* values) {
  descend_tile<Levels::kEven>(left, steps, factor, columns, levels, errors, values);
}

CLONES void descend_mirrored(const Tile* left, const Tile& steps, const float* factor, int columns,
                             const Levels& levels, Tile* errors, Tile* values) {
  descend_tile<Levels::kMirrored>(left, steps, factor, columns, levels, errors, values);
}

CLONES void descend_uneven(const Tile* left, const Tile& steps, const float* factor, int columns,
                           const Levels& levels, Tile* errors, Tile* values) {
  descend_tile<Levels::kUneven>(left, steps, factor, columns, levels, errors, values);
}

template <int kRank>
using Array = nb::ndarray<const float, nb::numpy, nb::ndim<kRank>, nb::c_contig, nb::device::cpu>;
template <int kRank>
using Out = nb::ndarray<float, nb::numpy, nb::ndim<kRank>, nb::c_contig, nb::device::cpu>;

Levels levels_of(const Array<1>& array, bool even) {
  const float* value = array.data();
  const size_t count = array.shape(0);
  if (count == 0) throw std::invalid_argument("descend: a code without values");
  Levels levels;
  levels.least = value[0];
  levels.most = value[count - 1];
  if (even) return levels;
  bool mirrored = count % 2 == 0;
  for (size_t i = 0; i < count; ++i) mirrored = mirrored && value[i] == -value[count - 1 - i];
  const size_t first = mirrored ? count / 2 : 0;
  levels.kind = mirrored ? Levels::kMirrored : Levels::kUneven;
  levels.least = value[first];
  for (size_t i = first + 1; i < count; ++i) {
    levels.border.push_back((value[i - 1] + value[i]) / 2);
    levels.rise.push_back(value[i] - value[i - 1]);
  }
  return levels;
}

// A group of columns and what is common to its tiles.
class Group {
 public:
  Group(const Array<2>& left, const Array<2>& factor, const Array<1>& values, bool even)
      : columns_(static_cast<int>(left.shape(0))),
        rows_(left.shape(1)),
        left_(left.data()),
        levels_(levels_of(values, even)),
        factor_(factor.size()),
        tile_(columns_),
        errors_(columns_) {
    if (factor.shape(0) != left.shape(0) || factor.shape(1) != left.shape(0)) {
      throw std::invalid_argument("descend: the factor is not of these columns");
    }
    for (int j = 0; j < columns_; ++j) {
      for (int k = 0; k < columns_; ++k) {
        factor_[static_cast<size_t>(k) * columns_ + j] =
            factor.data()[static_cast<size_t>(j) * columns_ + k];
      }
    }
  }

  size_t rows() const { return rows_; }
  int columns() const { return columns_; }
  const Tile* errors() const { return errors_.data(); }

  // Takes the rows from `first` on into the tile; lanes without a row do harmless work.
  void load(size_t first) {
    for (int k = 0; k < columns_; ++k) copy(left_ + k * rows_, first, tile_[k], 0.0f);
  }

  void descend(const float* steps, size_t first, Tile* values) {
    Tile own;
    copy(steps, first, own, 1.0f);
    auto* run = levels_.kind == Levels::kEven       ? descend_even
                : levels_.kind == Levels::kMirrored ? descend_mirrored
                                                    : descend_uneven;
    run(tile_.data(), own, factor_.data(), columns_, levels_, errors_.data(), values);
  }

  // Writes a tile's lanes back to the rows from `first` on.
  void store(const Tile& tile, float* row, size_t first) const {
    std::memcpy(row + first, &tile, std::min<size_t>(kLanes, rows_ - first) * sizeof(float));
  }

 private:
  void copy(const float* row, size_t first, Tile& tile, float filler) const {
    float lanes[kLanes];
    const size_t there = std::min<size_t>(kLanes, rows_ - first);
    std::copy(row + first, row + first + there, lanes);
    std::fill(lanes + there, lanes + kLanes, filler);
    std::memcpy(&tile, lanes, sizeof tile);
  }

  int columns_;
  size_t rows_;
  const float* left_;
  Levels levels_;
  std::vector<float> factor_;
  std::vector<Tile> tile_, errors_;
};

void descend(Array<2> left, Array<1> steps, Array<2> factor, Array<1> code, bool even,
             Out<2> values, Out<2> errors) {
  if (steps.shape(0) != left.shape(1) || values.size() != left.size() ||
      errors.size() != left.size()) {
    throw std::invalid_argument("descend: arrays disagree in shape");
  }
  nb::gil_scoped_release release;
  Group group(left, factor, code, even);
  std::vector<Tile> chosen(group.columns());
  for (size_t first = 0; first < group.rows(); first += kLanes) {
    group.load(first);
    group.descend(steps.data(), first, chosen.data());
    for (int k = 0; k < group.columns(); ++k) {
      group.store(chosen[k], values.data() + k * group.rows(), first);
      group.store(group.errors()[k], errors.data() + k * group.rows(), first);
    }
  }
}

void losses(Array<2> left, Array<2> steps, Array<2> factor, Array<1> code, bool even,
            Out<2> found) {
  if (steps.shape(1) != left.shape(1) || found.shape(0) != steps.shape(0) ||
      found.shape(1) != steps.shape(1)) {
    throw std::invalid_argument("losses: arrays disagree in shape");
  }
  nb::gil_scoped_release release;
  Group group(left, factor, code, even);
  for (size_t first = 0; first < group.rows(); first += kLanes) {
    group.load(first);
    for (size_t trial = 0; trial < steps.shape(0); ++trial) {
      group.descend(steps.data() + trial * group.rows(), first, nullptr);
      Tile sum{};
      for (int k = 0; k < group.columns(); ++k) {
        for (int p = 0; p < kParts; ++p) {
          const Vector error = group.errors()[k].part[p];
          sum.part[p] += error * error;
        }
      }
      group.store(sum, found.data() + trial * group.rows(), first);
    }
  }
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "The native loop of calibrated rounding.";
  module.def("descend", &descend, "left"_a, "steps"_a, "factor"_a, "code"_a, "even"_a, "values"_a,
             "errors"_a);
  module.def("losses", &losses, "left"_a, "steps"_a, "factor"_a, "code"_a, "even"_a, "found"_a);
}
