// In place of the compiler's header: its x86 intrinsics, plus SIMDe's exact emulation of those
// that this build's flags leave out. Only files of the HARDCAST_EMULATE build see this folder.

#pragma once

#include_next <immintrin.h>

#define HARDCAST_EMULATED 1
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

// AVX-VNNI's name for the operation that SIMDe has under the AVX-512 name.
#define _mm256_dpbusd_avx_epi32(sum, u, s) simde_mm256_dpbusd_epi32(sum, u, s)

// SIMDe 0.7.4 gives this name to its masked form.
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

// SIMDe 0.7.4 lacks these three.
static inline simde__m512i emulated_cvtepu8_epi32(simde__m128i bytes) {
  uint8_t narrow[16];
  int32_t wide[16];
  simde_mm_storeu_si128(narrow, bytes);
  for (int i = 0; i < 16; ++i) wide[i] = narrow[i];
  return simde_mm512_loadu_si512(wide);
}
#define _mm512_cvtepu8_epi32(bytes) emulated_cvtepu8_epi32(bytes)

static inline simde__m512i emulated_srai_epi32(simde__m512i lanes, unsigned count) {
  int32_t lane[16];
  simde_mm512_storeu_si512(lane, lanes);
  for (int i = 0; i < 16; ++i) lane[i] >>= count;
  return simde_mm512_loadu_si512(lane);
}
#define _mm512_srai_epi32(lanes, count) emulated_srai_epi32(lanes, count)

static inline simde__m512i emulated_cvtepi32_epi64(simde__m256i lanes) {
  int32_t narrow[8];
  int64_t wide[8];
  simde_mm256_storeu_si256(reinterpret_cast<simde__m256i*>(narrow), lanes);
  for (int i = 0; i < 8; ++i) wide[i] = narrow[i];
  return simde_mm512_loadu_si512(wide);
}
#define _mm512_cvtepi32_epi64(lanes) emulated_cvtepi32_epi64(lanes)
