#include "pool.h"

#include <chrono>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hardcast {

namespace {

constexpr int kSpins = 2000;   // ~20 us of pauses on x86: longer than any wait inside a token
// Then let other threads run but stay awake over the caller's work between two tokens: waking a
// sleeper costs a virtual machine as much as a layer or two.
constexpr std::chrono::microseconds kAwake{3000};

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

int current_core() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Moves this thread to the tid-th core after `from`, then lets it roam again. A new thread starts
// on its creator's core, and since both spin instead of sleeping, the kernel can leave them there
// together for a third of a second (measured: the first 60 tokens at one thread's speed).
void move_apart(int tid, int from) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (from < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int cores = CPU_COUNT(&allowed);
  int core = from;
  for (int steps = tid % (cores > 0 ? cores : 1); steps > 0; --steps) {
    do {
      core = (core + 1) % CPU_SETSIZE;
    } while (!CPU_ISSET(core, &allowed));
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  if (sched_setaffinity(0, sizeof one, &one) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
#else
  (void)tid;
  (void)from;
#endif
}

}  // namespace

void Signal::wait_while(uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value() != old) return;
    pause();
  }
  const auto end = std::chrono::steady_clock::now() + kAwake;
  while (std::chrono::steady_clock::now() < end) {
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
  const int core = current_core();
  for (int tid = 1; tid < threads_; ++tid) {
    workers_.emplace_back([this, tid, core] {
      move_apart(tid, core);
      work(tid);
    });
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
