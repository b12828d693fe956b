// Keys and values of one session: int8 codes and one exponent a head and position, in pages.

#pragma once

#include <memory>
#include <vector>

#include "kv/kv_pool.h"

namespace hardcast {

// A list of pages, some of them shared with other sessions: a shared page is copied before it is
// written (reserve). One thread at a time, except that any thread may destroy.
class KvCache {
 public:
  explicit KvCache(std::shared_ptr<KvPool> pool) : pool_(std::move(pool)) {}
  ~KvCache() { drop_from(0); }
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  int length = 0;       // positions written
  bool busy = false;    // in a forward pass: nothing else may touch it
  bool closed = false;  // for good

  // Throws std::runtime_error while busy, std::invalid_argument once closed.
  void check_open() const;

  // The first `positions` (at most `length`), their pages shared.
  std::shared_ptr<KvCache> fork(int positions) const;

  // Keeps the first `positions` (at most `length`); the pages behind them go back.
  void truncate(int positions);

  bool is_of(const KvPool& pool) const { return pool_.get() == &pool; }
  KvRows rows(int layer, int head, int page) const {
    return pool_->shape().rows(pages_[page], layer, head);
  }

  // Pages of their own for the positions from length to lengths[i] of every cache; each cache
  // comes once. Throws KvFull or std::bad_alloc; nothing has changed then.
  static void reserve(const std::vector<KvCache*>& caches, const std::vector<int>& lengths);

 private:
  void drop_from(size_t first) noexcept;

  std::shared_ptr<KvPool> pool_;
  std::vector<KvPage*> pages_;
};

}  // namespace hardcast
