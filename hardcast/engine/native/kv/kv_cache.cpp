#include "kv/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace hardcast {

namespace {

// Copies the first `positions` rows of every layer and head.
void copy_rows(const KvShape& shape, KvPage* from, KvPage* to, int positions) {
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.heads; ++head) {
      const KvRows source = shape.rows(from, layer, head), copy = shape.rows(to, layer, head);
      const size_t codes = static_cast<size_t>(positions) * shape.dim;
      std::memcpy(copy.keys, source.keys, codes);
      std::memcpy(copy.values, source.values, codes);
      std::memcpy(copy.key_exponents, source.key_exponents, positions);
      std::memcpy(copy.value_exponents, source.value_exponents, positions);
    }
  }
}

}  // namespace

void KvCache::check_open() const {
  if (busy) throw std::runtime_error("the session is in a forward pass");
  if (closed) throw std::invalid_argument("the session is closed");
}

std::shared_ptr<KvCache> KvCache::fork(int positions) const {
  auto made = std::make_shared<KvCache>(pool_);
  const size_t count = kv_pages(positions);
  made->pages_.reserve(count);
  const auto held = pool_->lock();
  for (size_t i = 0; i < count; ++i) {
    pool_->share(pages_[i]);
    made->pages_.push_back(pages_[i]);
  }
  made->length = positions;
  return made;
}

void KvCache::truncate(int positions) {
  length = positions;
  drop_from(kv_pages(positions));
}

void KvCache::drop_from(size_t first) noexcept {
  if (first >= pages_.size()) return;
  const auto held = pool_->lock();
  for (size_t i = first; i < pages_.size(); ++i) pool_->drop(pages_[i]);
  pages_.resize(first);
}

void KvCache::reserve(const std::vector<KvCache*>& caches, const std::vector<int>& lengths) {
  if (caches.empty()) return;
  KvPool& pool = *caches.front()->pool_;
  const auto held = pool.lock();
  // A shared page is copied by all of its writers but the last, if no other session holds it.
  std::unordered_map<const KvPage*, int> left;  // shared page: copies that left it, in this batch
  std::vector<bool> copies(caches.size());
  int needed = 0;
  for (size_t c = 0; c < caches.size(); ++c) {
    KvCache& cache = *caches[c];
    if (lengths[c] <= cache.length) continue;
    const size_t first = cache.length / kKvPage, count = kv_pages(lengths[c]);
    if (first < cache.pages_.size() && cache.pages_[first]->references > 1) {
      int& copied = left[cache.pages_[first]];
      copies[c] = cache.pages_[first]->references - copied > 1;
      copied += copies[c];
    }
    cache.pages_.reserve(count);
    needed += copies[c];
    if (count > cache.pages_.size()) needed += static_cast<int>(count - cache.pages_.size());
  }
  if (needed == 0) return;
  std::vector<KvPage*> fresh = pool.take(needed);
  const auto next = [&fresh] {
    KvPage* const page = fresh.back();
    fresh.pop_back();
    return page;
  };
  for (size_t c = 0; c < caches.size(); ++c) {
    KvCache& cache = *caches[c];
    if (copies[c]) {
      KvPage*& page = cache.pages_[cache.length / kKvPage];
      KvPage* const own = next();
      copy_rows(pool.shape(), page, own, cache.length % kKvPage);
      pool.drop(page);
      page = own;
    }
    if (lengths[c] <= cache.length) continue;
    const size_t count = kv_pages(lengths[c]);
    while (cache.pages_.size() < count) cache.pages_.push_back(next());
  }
}

}  // namespace hardcast
