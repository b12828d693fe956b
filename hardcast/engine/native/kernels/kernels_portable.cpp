// Plain C++: any CPU. Also the easiest of the kernels to read beside dot_kernel.h.

#include "kernels/dot_kernel.h"
#include "kernels/paths.h"

namespace hardcast {

namespace {

struct PortableVector {
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 1;
  static constexpr bool kInRegisters = false;
  static constexpr bool kSignedCodes = false;

  struct Int {
    int32_t lane[kLanes];
  };
  struct Vector {
    uint8_t byte[4 * kLanes];
  };
  using Digits = const int8_t*;

  template <class F>
  static Int each(F value) {
    Int out;
    for (int l = 0; l < kLanes; ++l) out.lane[l] = value(l);
    return out;
  }

  static Int zero() { return broadcast(0); }
  static Int broadcast(int32_t value) {
    return each([=](int) { return value; });
  }
  static Vector load(const uint8_t* in) {
    Vector out;
    std::memcpy(out.byte, in, sizeof out.byte);
    return out;
  }
  static Vector bytes(const uint8_t* in) { return load(in); }
  static void store(uint8_t* out, const Vector& c) { std::memcpy(out, c.byte, sizeof c.byte); }
  static Vector masked(Vector v, int bits) {
    for (uint8_t& byte : v.byte) byte = static_cast<uint8_t>(byte & bits);
    return v;
  }
  template <int kCount>
  static Vector shifted(Vector v) {
    for (uint8_t& byte : v.byte) byte >>= kCount;
    return v;
  }
  static Vector either(Vector a, const Vector& b) {
    for (size_t i = 0; i < sizeof a.byte; ++i) a.byte[i] |= b.byte[i];
    return a;
  }
  static Vector table(const uint8_t* in) {
    Vector out;
    std::memcpy(out.byte, in, 16);
    return out;
  }
  static Vector lookup(const Vector& table, Vector v) {
    for (uint8_t& byte : v.byte) byte = table.byte[byte & 15];
    return v;
  }
  static Digits digits(const int8_t* in) { return in; }
  static Int dot(const Int& sum, const Vector& c, Digits x) {
    return each([&](int l) {
      const uint8_t* const row = c.byte + 4 * l;
      return sum.lane[l] + row[0] * x[0] + row[1] * x[1] + row[2] * x[2] + row[3] * x[3];
    });
  }
  static Int scales(const uint8_t* in) {
    return each([=](int l) { return in[l]; });
  }
  static Int offset(const int16_t* pairs, int group) {
    return each([=](int l) { return pairs[2 * l + group]; });
  }
  // Sums may wrap on the way (activations.cpp bounds the last one), so they run in uint32.
  static Int add(const Int& a, const Int& b) {
    return each([&](int l) {
      return static_cast<int32_t>(static_cast<uint32_t>(a.lane[l]) +
                                  static_cast<uint32_t>(b.lane[l]));
    });
  }
  static Int multiply(const Int& a, const Int& b) {
    return each([&](int l) {
      return static_cast<int32_t>(static_cast<uint32_t>(a.lane[l]) *
                                  static_cast<uint32_t>(b.lane[l]));
    });
  }
  template <int kCount>
  static Int shifted_left(const Int& a) {
    return each([&](int l) { return a.lane[l] * (1 << kCount); });
  }
  static Int pair_dot(const int16_t* pairs, const int16_t* sums) {
    return each([=](int l) { return pairs[2 * l] * sums[0] + pairs[2 * l + 1] * sums[1]; });
  }
  static void shift_add(int64_t* out, const Int& a, int shift) {
    for (int l = 0; l < kLanes; ++l) {
      out[l] = static_cast<int64_t>(static_cast<uint64_t>(out[l]) +
                                    (static_cast<uint64_t>(int64_t{a.lane[l]}) << shift));
    }
  }
  static void multiply_shift_add(int64_t* out, const Int& a, const Int& b, int shift) {
    for (int l = 0; l < kLanes; ++l) {
      const int64_t product = int64_t{a.lane[l]} * b.lane[l];
      out[l] = static_cast<int64_t>(static_cast<uint64_t>(out[l]) +
                                    (static_cast<uint64_t>(product) << shift));
    }
  }
};

}  // namespace

const Path kPortable{"portable", dot_multiply<PortableVector>};

}  // namespace hardcast
