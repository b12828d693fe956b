// Armv8.2 dot product (SDOT): a q register holds 4 rows x 4 columns (Neoverse, Apple M, A76 on).

#include <arm_neon.h>

#include "kernels/dot_kernel.h"
#include "kernels/paths.h"

namespace hardcast {

namespace {

struct NeonVector {
  static constexpr int kLanes = 4;
  static constexpr int kAccumulators = 16;  // of 32 registers
  static constexpr bool kInRegisters = true;
  static constexpr bool kSignedCodes = true;  // SDOT: stored value + 128 becomes value again
  using Int = int32x4_t;
  using Vector = int8x16_t;
  using Digits = int8x16_t;

  static Int zero() { return vdupq_n_s32(0); }
  static Int broadcast(int32_t value) { return vdupq_n_s32(value); }
  static Vector load(const uint8_t* in) { return vreinterpretq_s8_u8(vld1q_u8(in)); }
  static Vector bytes(const uint8_t* in) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(in), vdupq_n_u8(0x80)));
  }
  static void store(uint8_t* out, Vector c) { vst1q_u8(out, vreinterpretq_u8_s8(c)); }
  static Vector masked(Vector v, int bits) {
    return vandq_s8(v, vdupq_n_s8(static_cast<int8_t>(bits)));
  }
  template <int kCount>
  static Vector shifted(Vector v) {
    return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(v), kCount));
  }
  static Vector either(Vector a, Vector b) { return vorrq_s8(a, b); }
  static Vector table(const uint8_t* in) { return bytes(in); }
  static Vector lookup(Vector table, Vector v) {  // TBL gives 0 past its 16 entries
    return vqtbl1q_s8(table, vreinterpretq_u8_s8(masked(v, 15)));
  }
  static Digits digits(const int8_t* in) {
    int32_t four;
    std::memcpy(&four, in, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
  static Int dot(Int sum, Vector c, Digits x) { return vdotq_s32(sum, c, x); }
  static Int scales(const uint8_t* in) {
    uint32_t four;
    std::memcpy(&four, in, sizeof four);
    const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(four));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
  }
  static Int offset(const int16_t* pairs, int group) {
    const int32x4_t both = vreinterpretq_s32_s16(vld1q_s16(pairs));
    return vshrq_n_s32(group == 0 ? vshlq_n_s32(both, 16) : both, 16);
  }
  static Int add(Int a, Int b) { return vaddq_s32(a, b); }
  static Int multiply(Int a, Int b) { return vmulq_s32(a, b); }
  template <int kCount>
  static Int shifted_left(Int a) {
    return vshlq_n_s32(a, kCount);
  }
  static Int pair_dot(const int16_t* pairs, const int16_t* sums) {
    return vmlaq_n_s32(vmulq_n_s32(offset(pairs, 0), sums[0]), offset(pairs, 1), sums[1]);
  }
  static void shift_add(int64_t* out, Int a, int shift) {
    add_shifted(out, vmovl_s32(vget_low_s32(a)), vmovl_s32(vget_high_s32(a)), shift);
  }
  static void multiply_shift_add(int64_t* out, Int a, Int b, int shift) {
    add_shifted(out, vmull_s32(vget_low_s32(a), vget_low_s32(b)),
                vmull_s32(vget_high_s32(a), vget_high_s32(b)), shift);
  }

 private:
  static void add_shifted(int64_t* out, int64x2_t low, int64x2_t high, int shift) {
    const int64x2_t count = vdupq_n_s64(shift);
    vst1q_s64(out, vaddq_s64(vld1q_s64(out), vshlq_s64(low, count)));
    vst1q_s64(out + 2, vaddq_s64(vld1q_s64(out + 2), vshlq_s64(high, count)));
  }
};

}  // namespace

const Path kNeon{"neon", dot_multiply<NeonVector>};

}  // namespace hardcast
