// Which paths this processor and its operating system can run.

#include <stdexcept>

#include "kernels/paths.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace hardcast {

namespace {

#if defined(__x86_64__)

// XCR0: which register states the operating system saves. CPUID alone would lie under an old one.
uint64_t saved_states() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

void find_paths(std::vector<const Path*>& found) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const bool osxsave = c & (1u << 27);
  if (!osxsave) return;
  const uint64_t states = saved_states();
  const bool ymm = (states & 0x06) == 0x06;  // SSE and AVX states
  const bool zmm = (states & 0xe6) == 0xe6;  // and opmask, ZMM high halves, ZMM 16..31
  unsigned a7 = 0, b7 = 0, c7 = 0, d7 = 0;
  if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return;
  const bool avx2 = ymm && (b7 & (1u << 5));
  const bool avx512 = zmm && (b7 & (1u << 16)) && (b7 & (1u << 30));  // F, BW
  const bool avx512vnni = avx512 && (c7 & (1u << 11));
  unsigned a71 = 0, b71 = 0, c71 = 0, d71 = 0;
  const bool leaf71 = a7 >= 1 && __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
  const bool avxvnni = avx2 && leaf71 && (a71 & (1u << 4));
  if (avx512vnni) found.push_back(&kAvx512Vnni);
  if (avxvnni) found.push_back(&kAvxVnni);
  if (avx2) found.push_back(&kAvx2);
}

#elif defined(__aarch64__)

bool has_dot_product() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & kAsimdDp;
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value;
#else
  return false;
#endif
}

void find_paths(std::vector<const Path*>& found) {
  if (has_dot_product()) found.push_back(&kNeon);
}

#else

void find_paths(std::vector<const Path*>&) {}

#endif

}  // namespace

const std::vector<const Path*>& available_paths() {
  static const std::vector<const Path*> paths = [] {
    std::vector<const Path*> found;
    find_paths(found);
    found.push_back(&kPortable);
    return found;
  }();
  return paths;
}

const Path& find_path(const std::string& name) {
  const std::vector<const Path*>& paths = available_paths();
  if (name.empty()) return *paths.front();
  std::string known;
  for (const Path* path : paths) {
    if (name == path->name) return *path;
    known += (known.empty() ? "" : ", ") + std::string(path->name);
  }
  throw std::invalid_argument("path '" + name + "' cannot run here; this machine can run: " +
                              known);
}

}  // namespace hardcast
