#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hardcast {

namespace {

constexpr int kSpins = 2000;   // ~20 us of pauses on x86: longer than any wait inside a token
constexpr int kYields = 200;   // then let other threads run, for ~100 us or one time slice

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

}  // namespace

void Signal::wait_while(uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value() != old) return;
    pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value() != old) return;
    std::this_thread::yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  // Announced before the last look at the value, and advance() looks after changing it: with both
  // sequentially consistent one of the two sees the other, so no wake-up is lost.
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  woken_.wait(lock, [&] { return value_.load(std::memory_order_seq_cst) != old; });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void Signal::advance() {
  value_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
  // Taking the mutex orders this after the sleeper's own look, so notify finds it waiting.
  { std::lock_guard<std::mutex> lock(mutex_); }
  woken_.notify_all();
}

Pool::Pool(int threads) : threads_(threads < 1 ? 1 : threads) {
  workers_.reserve(threads_ - 1);
  for (int tid = 1; tid < threads_; ++tid) {
    workers_.emplace_back([this, tid] { work(tid); });
  }
}

Pool::~Pool() {
  stop_.store(true, std::memory_order_release);
  start_.advance();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::barrier() {
  if (threads_ == 1) return;
  const uint32_t generation = passed_.value();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    passed_.advance();
  } else {
    passed_.wait_while(generation);
  }
}

void Pool::run_erased(Call call, void* function) {
  call_ = call;
  function_ = function;
  if (threads_ > 1) start_.advance();
  guarded(0);
  barrier();
  if (failure_) {
    const std::exception_ptr failure = failure_;
    failure_ = nullptr;
    std::rethrow_exception(failure);
  }
}

void Pool::work(int tid) {
  uint32_t generation = 0;
  while (true) {
    start_.wait_while(generation);
    ++generation;
    if (stop_.load(std::memory_order_acquire)) return;
    guarded(tid);
    barrier();
  }
}

void Pool::guarded(int tid) {
  try {
    call_(function_, tid, threads_);
  } catch (...) {
    std::lock_guard<std::mutex> lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

}  // namespace hardcast
