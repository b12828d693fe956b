#include "memory.h"

#include <new>

#include <sys/mman.h>

namespace hardcast {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Arena::Arena(size_t bytes) : capacity_(round_up(bytes ? bytes : 1, kHugePage)) {
  // mmap promises 4 KB alignment only: map one huge page more and give both ends back.
  const size_t mapped = capacity_ + kHugePage;
  void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) throw std::bad_alloc();
  uint8_t* const start = static_cast<uint8_t*>(raw);
  const size_t head = round_up(reinterpret_cast<uintptr_t>(start), kHugePage) -
                      reinterpret_cast<uintptr_t>(start);
  base_ = start + head;
  if (head != 0) munmap(start, head);
  if (kHugePage - head != 0) munmap(base_ + capacity_, kHugePage - head);
#ifdef MADV_HUGEPAGE
  madvise(base_, capacity_, MADV_HUGEPAGE);  // a hint: a kernel without huge pages just says no
#endif
}

Arena::~Arena() { munmap(base_, capacity_); }

uint8_t* Arena::take(size_t bytes) {
  const size_t size = arena_bytes(bytes);
  if (size > capacity_ - used_) throw std::bad_alloc();
  uint8_t* const piece = base_ + used_;
  used_ += size;
  return piece;
}

}  // namespace hardcast
