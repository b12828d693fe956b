// The input of a matrix product: block-quantised integers, and what kernels derive from them once.
//
// x: int16[tokens][stride], |x| <= 2^(bits-1), stride = 64 * blocks, columns past the matrix zero.
// One exponent 0..31 a (token, block): the value is x << exponent.

#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace hardcast {

// Bits of the low digit, where there are two.
constexpr int kWideDigit = 7, kNarrowDigit = 5;

struct Activations {
  int tokens = 0, blocks = 0, stride = 0;
  int bits = 8;                // 8..15
  bool wide = false;           // a block's sum may exceed int32, or an exponent may exceed 30
  const int16_t* x = nullptr;  // [tokens][stride]
  const int8_t* low = nullptr;   // [tokens][stride]: x itself when high is null
  const int8_t* high = nullptr;  // [tokens][stride]: null when bits == 8 and not wide. x is
                                 // 128 high + low, low 0..127, when wide, else 32 high + low,
                                 // both within -16..16
  const int8_t* spread = nullptr;  // [8 * stride]: each four of low, 8 times over; one token of at
                                   // most 8 bits only, else null. A ready operand for a ymm.
  const int32_t* sums = nullptr;      // [tokens][blocks][2]: sum of x over each group of 32
  const int16_t* sum_pairs = nullptr;  // [tokens][blocks][2]: the same, valid unless wide
  const uint8_t* exponents = nullptr;  // [tokens][blocks]
  const int32_t* powers = nullptr;     // [tokens][blocks]: 2^exponent, valid unless wide

  size_t at(int token, int block) const { return static_cast<size_t>(token) * blocks + block; }
};

// Starts arrays on a cache line, so that no vector load straddles two.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(size_t n) {
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t{64}); }
  friend bool operator==(const CacheLineAllocator&, const CacheLineAllocator&) { return true; }
  friend bool operator!=(const CacheLineAllocator&, const CacheLineAllocator&) { return false; }
};

// Owns the arrays of an Activations; reused from call to call, grows and never shrinks.
class ActivationBuffer {
 public:
  // Shapes the buffer and zeroes the padding. max_exponent: what the caller's quantiser can emit.
  void resize(int tokens, int cols, int bits, int max_exponent = 31);

  // Where the caller writes before finish().
  int16_t* x(int token) { return x_.data() + static_cast<size_t>(token) * view_.stride; }
  uint8_t* exponents(int token) {
    return exponents_.data() + static_cast<size_t>(token) * view_.blocks;
  }

  // Derives digits and sums of tokens [token_begin, token_end) x blocks [block_begin, block_end).
  // Disjoint ranges may run on different threads.
  void finish(int token_begin, int token_end, int block_begin, int block_end);
  void finish() { finish(0, view_.tokens, 0, view_.blocks); }

  const Activations& view() const { return view_; }

 private:
  template <class T>
  using Array = std::vector<T, CacheLineAllocator<T>>;

  template <class T>
  static void grow(Array<T>& array, size_t count) {
    if (array.size() < count) array.resize(count);
  }

  Activations view_;
  Array<int16_t> x_, sum_pairs_;
  Array<int8_t> low_, high_, spread_;
  Array<int32_t> sums_, powers_;
  Array<uint8_t> exponents_;
};

}  // namespace hardcast
