#include "kv/kv_pool.h"

#include <algorithm>
#include <new>
#include <string>

namespace hardcast {

namespace {

constexpr size_t kFewSpare = 16;

std::string plural(int count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

KvPool::~KvPool() {
  for (KvPage* page : spare_) give_back(page);
}

KvPool::Use KvPool::use() const {
  const auto held = lock();
  const size_t page = sizeof(KvPage) + shape_.page_bytes();
  return {used_, limit_, (static_cast<size_t>(used_) + spare_.size()) * page};
}

std::vector<KvPage*> KvPool::take(int count) {
  if (limit_ >= 0 && count > limit_ - used_) {
    throw KvFull("KV memory is full: " + plural(count, "more page") + " of " +
                 std::to_string(kKvPage) + " positions needed, " + std::to_string(limit_ - used_) +
                 " of " + std::to_string(limit_) +
                 " free; close a session, or open the engine with more kv_positions");
  }
  std::vector<KvPage*> pages;
  pages.reserve(count);
  const size_t most = static_cast<size_t>(used_) + count + kFewSpare;  // that drop() may keep
  if (spare_.capacity() < most) spare_.reserve(2 * most);
  while (static_cast<int>(spare_.size()) < count) {
    void* const raw = ::operator new(sizeof(KvPage) + shape_.page_bytes(),
                                     std::align_val_t{alignof(KvPage)});
    spare_.push_back(new (raw) KvPage);
  }
  for (int i = 0; i < count; ++i) {
    spare_.back()->references = 1;
    pages.push_back(spare_.back());
    spare_.pop_back();
  }
  used_ += count;
  return pages;
}

void KvPool::drop(KvPage* page) noexcept {
  if (--page->references > 0) return;
  --used_;
  if (spare_.size() < std::max(static_cast<size_t>(used_), kFewSpare)) {
    spare_.push_back(page);  // has the capacity: take() saw to it
  } else {
    give_back(page);
  }
}

void KvPool::give_back(KvPage* page) noexcept {
  page->~KvPage();
  ::operator delete(page, std::align_val_t{alignof(KvPage)});
}

}  // namespace hardcast
