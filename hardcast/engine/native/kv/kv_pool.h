// KV memory in pages of 64 positions, counted, so that sessions may share them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "model.h"

namespace hardcast {

constexpr int kKvPage = 64;  // positions

constexpr int kv_pages(int positions) { return (positions + kKvPage - 1) / kKvPage; }

// The pool's bound leaves no room for what a batch needs; nothing was changed.
class KvFull : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The rows of one head of one layer in one page: attention streams keys, then values.
struct KvRows {
  int8_t *keys, *values;                       // [64][head_dim]
  uint8_t *key_exponents, *value_exponents;    // [64]
};

// All layers and heads of 64 positions. `references` belongs to the pool's mutex.
struct alignas(64) KvPage {
  int references = 0;

  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(this + 1); }
};

struct KvShape {
  int layers, heads, dim;

  size_t head_bytes() const { return static_cast<size_t>(kKvPage) * (2 * dim + 2); }
  size_t page_bytes() const { return static_cast<size_t>(layers) * heads * head_bytes(); }
  KvRows rows(KvPage* page, int layer, int head) const {
    const size_t codes = static_cast<size_t>(kKvPage) * dim;
    uint8_t* const at = page->bytes() + (static_cast<size_t>(layer) * heads + head) * head_bytes();
    return {reinterpret_cast<int8_t*>(at), reinterpret_cast<int8_t*>(at + codes), at + 2 * codes,
            at + 2 * codes + kKvPage};
  }
};

// Hands pages out and takes them back. Any thread may give back: a session ends wherever Python
// collects it. Spare pages are kept for reuse, but never more than are in use (and a few).
class KvPool {
 public:
  KvPool(const Shape& shape, int limit)  // limit: pages, or -1 for no bound
      : shape_{shape.num_hidden_layers, shape.num_key_value_heads, shape.head_dim},
        limit_(limit) {}
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  struct Use {
    int used, limit;
    size_t bytes;  // of all pages held, spare ones too
  };
  Use use() const;

  const KvShape& shape() const { return shape_; }

  // What follows is for holders of this lock, one at a time.
  std::unique_lock<std::mutex> lock() const { return std::unique_lock<std::mutex>(mutex_); }
  // `count` pages with one reference each. Throws KvFull or std::bad_alloc; nothing changed then.
  std::vector<KvPage*> take(int count);
  void share(KvPage* page) { ++page->references; }
  void drop(KvPage* page) noexcept;

 private:
  void give_back(KvPage* page) noexcept;

  const KvShape shape_;
  const int limit_;
  mutable std::mutex mutex_;
  int used_ = 0;
  std::vector<KvPage*> spare_;
};

}  // namespace hardcast
