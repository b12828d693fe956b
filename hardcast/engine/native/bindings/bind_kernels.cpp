// Python face of the kernels, for tests and benchmarks: pack, matmul, available_paths.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <stdexcept>

#include "steps/attention_sums.h"
#include "bindings/bindings.h"
#include "kernels/kernels.h"
#include "pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace hardcast {

namespace {

template <class T, int kRank>
using Array = nb::ndarray<const T, nb::numpy, nb::ndim<kRank>, nb::c_contig, nb::device::cpu>;

MatrixSource source_of(Array<uint8_t, 3> codes, Array<int16_t, 1> codebook, int bits,
                       int in_features, int group_size, Array<uint8_t, 2> scales,
                       const std::optional<Array<int16_t, 2>>& offsets) {
  MatrixSource source;
  source.rows = static_cast<int>(codes.shape(1));
  source.cols = in_features;
  source.bits = bits;
  source.planes = static_cast<int>(codes.shape(0));
  source.group_size = group_size;
  check_shape(source);
  const size_t row_bytes = (static_cast<size_t>(in_features) * bits + 7) / 8;
  const size_t groups = (in_features + group_size - 1) / group_size;
  if (codes.shape(2) != row_bytes || codebook.shape(0) != size_t{1} << bits ||
      scales.shape(0) != codes.shape(1) || scales.shape(1) != groups ||
      (offsets && (offsets->shape(0) != codes.shape(1) || offsets->shape(1) != groups))) {
    throw std::invalid_argument("pack: codes, codebook, scales and offsets disagree in shape");
  }
  source.codebook = codebook.data();
  source.codes = codes.data();
  source.scales = scales.data();
  source.offsets = offsets ? offsets->data() : nullptr;
  return source;
}

PackedMatrix pack_arrays(Array<uint8_t, 3> codes, Array<int16_t, 1> codebook, int bits,
                         int in_features, int group_size, Array<uint8_t, 2> scales,
                         std::optional<Array<int16_t, 2>> offsets,
                         std::shared_ptr<Arena> arena) {
  const MatrixSource source =
      source_of(codes, codebook, bits, in_features, group_size, scales, offsets);
  nb::gil_scoped_release release;
  return pack(source, std::move(arena));
}

size_t packed_bytes_of(int rows, int cols, int planes, Array<int16_t, 1> codebook, int bits,
                       bool has_offsets) {
  MatrixSource source;
  source.rows = rows;
  source.cols = cols;
  source.planes = planes;
  source.bits = bits;
  source.codebook = codebook.data();
  static const int16_t kSome = 0;
  source.offsets = has_offsets ? &kSome : nullptr;
  if (codebook.shape(0) != size_t{1} << bits) throw std::invalid_argument("codebook size");
  return packed_bytes(source);
}

nb::ndarray<nb::numpy, int64_t, nb::ndim<2>> matmul(const PackedMatrix& matrix,
                                                    Array<int16_t, 2> x,
                                                    Array<uint8_t, 2> exponents, int bits,
                                                    const std::string& path_name, int threads) {
  const int tokens = static_cast<int>(x.shape(0));
  if (static_cast<int>(x.shape(1)) != matrix.cols || exponents.shape(0) != x.shape(0) ||
      static_cast<int>(exponents.shape(1)) != matrix.blocks) {
    throw std::invalid_argument("matmul: x is [tokens, in_features], exponents [tokens, blocks]");
  }
  if (bits < 8 || bits > 15) throw std::invalid_argument("matmul: activation bits are 8..15");
  const Path& path = find_path(path_name);
  const int limit = 1 << (bits - 1);
  int max_exponent = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x.data()[i] < -limit || x.data()[i] >= limit) {
      throw std::invalid_argument("matmul: an activation exceeds its bits");
    }
  }
  for (size_t i = 0; i < exponents.size(); ++i) {
    max_exponent = std::max<int>(max_exponent, exponents.data()[i]);
  }
  if (max_exponent > 31) throw std::invalid_argument("matmul: exponents are 0..31");

  const size_t count = static_cast<size_t>(tokens) * matrix.rows;
  int64_t* const out = new int64_t[count ? count : 1];
  nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<int64_t*>(p); });
  {
    nb::gil_scoped_release release;
    ActivationBuffer buffer;
    buffer.resize(tokens, matrix.cols, bits, max_exponent);
    for (int t = 0; t < tokens; ++t) {
      const int16_t* const row = x.data() + static_cast<size_t>(t) * matrix.cols;
      std::copy(row, row + matrix.cols, buffer.x(t));
      const uint8_t* const e = exponents.data() + static_cast<size_t>(t) * matrix.blocks;
      std::copy(e, e + matrix.blocks, buffer.exponents(t));
    }
    buffer.finish();
    auto collect = [&](int tile, int token_begin, int n, const int64_t* sums) {
      const int rows = std::min(kTileRows, matrix.rows - tile * kTileRows);
      for (int t = 0; t < n; ++t) {
        std::copy(sums + kTileRows * t, sums + kTileRows * t + rows,
                  out + static_cast<size_t>(token_begin + t) * matrix.rows + tile * kTileRows);
      }
    };
    Pool pool(threads);
    auto part = [&](int tid, int n) {
      path.multiply(matrix, buffer.view(), static_cast<int>(int64_t{matrix.tiles} * tid / n),
                    static_cast<int>(int64_t{matrix.tiles} * (tid + 1) / n),
                    make_sink(collect));
    };
    pool.run(part);
  }
  const size_t shape[2] = {static_cast<size_t>(tokens), static_cast<size_t>(matrix.rows)};
  return nb::ndarray<nb::numpy, int64_t, nb::ndim<2>>(out, 2, shape, owner);
}

// total[d] = sum over rows of (p << exponent) * value[d]: attention's second sum, for tests.
nb::ndarray<nb::numpy, int64_t, nb::ndim<1>> weighted_sum_of(Array<int32_t, 1> p,
                                                             Array<uint8_t, 1> exponents,
                                                             Array<int8_t, 2> values,
                                                             const std::string& path_name) {
  const Path& path = find_path(path_name);
  const size_t rows = p.size(), dim = values.shape(1);
  if (exponents.size() != rows || values.shape(0) != rows) {
    throw std::invalid_argument("weighted_sum: one term and one exponent a row");
  }
  int64_t* const out = new int64_t[dim ? dim : 1]();
  nb::capsule owner(out, [](void* o) noexcept { delete[] static_cast<int64_t*>(o); });
  std::vector<RowPair> pairs;
  weighted_sum(path.avx2, p.data(), exponents.data(), values.data(), static_cast<int>(dim),
               static_cast<int>(rows), pairs, out);
  const size_t shape[1] = {dim};
  return nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>(out, 1, shape, owner);
}

// Seconds of each of `rounds` passes over all matrices (one token's products, or a prompt's), each
// thread taking its share of every matrix, with a barrier after each as in a real token.
std::vector<double> time_products(const std::vector<const PackedMatrix*>& matrices,
                                  const std::vector<int>& bits, int tokens, int threads,
                                  int rounds, const std::string& path_name) {
  const Path& path = find_path(path_name);
  if (bits.size() != matrices.size()) throw std::invalid_argument("one activation width a matrix");
  nb::gil_scoped_release release;
  std::vector<ActivationBuffer> inputs(matrices.size());
  uint32_t random = 1;
  for (size_t i = 0; i < matrices.size(); ++i) {
    const PackedMatrix& m = *matrices[i];
    inputs[i].resize(tokens, m.cols, bits[i], 15);
    for (int t = 0; t < tokens; ++t) {
      for (int c = 0; c < m.cols; ++c) {
        random = random * 1664525u + 1013904223u;
        inputs[i].x(t)[c] = static_cast<int16_t>(static_cast<int32_t>(random) >> (32 - bits[i]));
      }
      for (int b = 0; b < m.blocks; ++b) inputs[i].exponents(t)[b] = static_cast<uint8_t>(b % 6);
    }
    inputs[i].finish();
  }
  Pool pool(threads);
  std::vector<double> seconds;
  std::vector<int64_t> totals(static_cast<size_t>(threads) * 8, 0);
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    auto part = [&](int tid, int n) {
      int64_t total = 0;
      auto add = [&](int, int, int, const int64_t* sums) { total += sums[0]; };
      for (size_t i = 0; i < matrices.size(); ++i) {
        const int64_t tiles = matrices[i]->tiles;
        path.multiply(*matrices[i], inputs[i].view(), static_cast<int>(tiles * tid / n),
                      static_cast<int>(tiles * (tid + 1) / n), make_sink(add));
        pool.barrier();
      }
      totals[static_cast<size_t>(tid) * 8] += total;
    };
    pool.run(part);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    seconds.push_back(passed.count());
  }
  return seconds;
}

}  // namespace

void bind_kernels(nb::module_& module) {
  nb::class_<PackedMatrix>(module, "PackedMatrix")
      .def_ro("rows", &PackedMatrix::rows)
      .def_ro("cols", &PackedMatrix::cols)
      .def_ro("zero", &PackedMatrix::zero)
      .def_ro("has_offsets", &PackedMatrix::has_offsets)
      .def_prop_ro("kind", [](const PackedMatrix& m) {
        constexpr const char* kNames[] = {"L3", "U4", "L4", "U6", "U8"};
        return kNames[static_cast<int>(m.kind)];
      })
      .def_prop_ro("bytes", [](const PackedMatrix& m) { return m.bytes(); })
      .def("row", [](const PackedMatrix& m, int row) {
        if (row < 0 || row >= m.rows) throw std::out_of_range("row outside the matrix");
        int32_t* const out = new int32_t[m.cols];
        nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<int32_t*>(p); });
        decode_row(m, row, out);
        const size_t shape[1] = {static_cast<size_t>(m.cols)};
        return nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>(out, 1, shape, owner);
      }, "row"_a, "int32[in_features]: scale * value + offset of one row.");
  nb::class_<Arena>(module, "Arena")
      .def(nb::init<size_t>(), "bytes"_a);
  module.def("packed_bytes", packed_bytes_of, "rows"_a, "cols"_a, "planes"_a, "codebook"_a,
             "bits"_a, "has_offsets"_a, "What pack() takes from an arena for such a matrix.");
  module.def("pack", pack_arrays, "codes"_a, "codebook"_a, "bits"_a, "in_features"_a,
             "group_size"_a, "scales"_a, "offsets"_a.none() = nb::none(),
             "arena"_a.none() = nb::none(),
             "Packs an image matrix: codes uint8[planes, out, ceil(in * bits / 8)].");
  module.def("matmul", matmul, "matrix"_a, "x"_a, "exponents"_a, "bits"_a = 8, "path"_a = "",
             "threads"_a = 1,
             "int64[tokens, out]: exact sums of x int16[tokens, in] << exponents per block of 64.");
  module.def("weighted_sum", weighted_sum_of, "p"_a, "exponents"_a, "values"_a, "path"_a = "",
             "int64[dim]: sum of (p << exponent) * values over rows; p < 2^12, exponents 0..15.");
  module.def("time_products", time_products, "matrices"_a, "bits"_a, "tokens"_a = 1,
             "threads"_a = 1, "rounds"_a = 10, "path"_a = "",
             "Seconds of each pass over all matrices, random inputs.");
  module.def("available_paths", [] {
    std::vector<std::string> names;
    for (const Path* path : available_paths()) names.emplace_back(path->name);
    return names;
  }, "Paths that this machine can run, fastest first.");
}

}  // namespace hardcast
