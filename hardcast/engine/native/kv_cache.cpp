#include "kv_cache.h"

#include <algorithm>

namespace hardcast {

namespace {

constexpr int kFirstCapacity = 64;

// Moves [heads][from][width] rows into a fresh [heads][to][width] array.
template <class T>
std::vector<T> widened(const std::vector<T>& old, int heads, int from, int to, int width) {
  std::vector<T> grown(static_cast<size_t>(heads) * to * width);
  for (int h = 0; h < heads; ++h) {
    std::copy_n(old.begin() + static_cast<size_t>(h) * from * width,
                static_cast<size_t>(from) * width,
                grown.begin() + static_cast<size_t>(h) * to * width);
  }
  return grown;
}

}  // namespace

void KvCache::reserve(int positions) {
  if (positions <= capacity_) return;
  int capacity = std::max(capacity_, kFirstCapacity);
  while (capacity < positions) capacity *= 2;
  capacity = std::max(std::min(capacity, context_), positions);
  std::vector<Layer> grown;
  grown.reserve(layers_.size());
  for (const Layer& old : layers_) {
    grown.push_back({widened(old.keys, heads_, capacity_, capacity, dim_),
                     widened(old.values, heads_, capacity_, capacity, dim_),
                     widened(old.key_exponents, heads_, capacity_, capacity, 1),
                     widened(old.value_exponents, heads_, capacity_, capacity, 1)});
  }
  layers_.swap(grown);
  capacity_ = capacity;
}

}  // namespace hardcast
