// A fixed team of threads for short parallel regions (a layer's matrix product takes ~100 us).
//
// Waiting spins for some 20 microseconds, then yields the core for 3 ms, then sleeps: the first
// keeps decode fast, the second spans the caller's work between two tokens and leaves the core to
// others where threads outnumber cores, and the last lets an idle engine cost nothing. The calling
// thread is worker 0, so a pool of 1 starts no thread.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace hardcast {

// Lets waiters of a changing counter spin, yield and finally sleep.
class Signal {
 public:
  uint32_t value() const { return value_.load(std::memory_order_acquire); }
  void wait_while(uint32_t old);  // returns once value() != old
  void advance();                 // value += 1, wakes every waiter

 private:
  alignas(64) std::atomic<uint32_t> value_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable woken_;
};

class Pool {
 public:
  explicit Pool(int threads);  // at least 1; throws std::system_error when the OS refuses
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Runs function(tid, threads()) once on every worker, tid 0 on the caller, and waits for all.
  // One caller at a time. An exception of any worker is rethrown here, unless the others are still
  // held by a barrier that the thrower never reached: code that uses barrier() must not throw.
  template <class F>
  void run(F& function) {
    run_erased([](void* f, int tid, int n) { (*static_cast<F*>(f))(tid, n); }, &function);
  }

  // Inside run(): nobody passes before all workers have arrived.
  void barrier();

 private:
  using Call = void (*)(void* function, int tid, int threads);

  void run_erased(Call call, void* function);
  void work(int tid);
  void guarded(int tid);

  int threads_;
  Call call_ = nullptr;
  void* function_ = nullptr;
  std::atomic<bool> stop_{false};
  Signal start_;
  Signal passed_;  // generation of the barrier
  alignas(64) std::atomic<int> arrived_{0};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::vector<std::thread> workers_;
};

}  // namespace hardcast
