// dispatch.cpp of the HARDCAST_EMULATE build: here every path runs.

#include <stdexcept>

#include "kernels/paths.h"

namespace hardcast {

const std::vector<const Path*>& available_paths() {
  static const std::vector<const Path*> paths{&kAvx512Vnni, &kAvxVnni, &kAvx2, &kNeon, &kPortable};
  return paths;
}

const Path& find_path(const std::string& name) {
  for (const Path* path : available_paths()) {
    if (name.empty() || name == path->name) return *path;
  }
  throw std::invalid_argument("path '" + name + "' cannot run here; known: avx512vnni, avxvnni, "
                              "avx2, neon, portable");
}

}  // namespace hardcast
