// The clock and the host port of hc_top, as its tests and the simulator use them: one request at a
// time, each with its one response. harness.cpp is the text around it.

#pragma once

#include "Vhc_top.h"
#include "verilated.h"
#ifdef HC_SAVABLE
#include "verilated_save.h"
#endif
#ifdef HC_TRACE
#include "verilated_fst_c.h"
#endif

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

enum Op : uint8_t { kRead = 0, kWrite = 1, kRun = 2 };

constexpr uint64_t kNever = ~uint64_t{0};
// How often a long wait looks up from the clock: often enough for slow designs, free for fast ones.
constexpr uint64_t kLookEvery = 1024;

[[noreturn]] inline void die(const std::string& why) {
    std::fprintf(stderr, "%%Error: %s\n", why.c_str());
    Verilated::runExitCallbacks();  // a trace is closed, so that it shows what went wrong
    std::exit(1);
}

struct Response {
    uint32_t data;
    uint32_t error;
    uint64_t cycles;  // from the edge that took the request to the first that could take this
};

class Driver {
  public:
    // answers: where `p CYCLES` goes every `progress` cycles (0: never) of a request under way.
    // limit: cycles after which a request without a response ends the process.
    Driver(VerilatedContext& context, FILE* answers, uint64_t progress, uint64_t limit)
        : context_{context}, top_{&context}, answers_{answers}, progress_{progress}, limit_{limit} {
        top_.clk = 0;
        top_.rst_n = 0;
        top_.req_valid = 0;
        top_.rsp_ready = 0;
        top_.eval();  // the initial blocks: ROMs are loaded here
    }
    ~Driver() {
#ifdef HC_TRACE
        if (trace_) trace_->close();
#endif
        top_.final();
    }

    bool was_reset() const { return top_.rst_n; }
    bool pending() const { return state_.pending; }
    uint64_t cycles() const { return state_.cycles; }

    void request(Op op, uint64_t address, uint64_t data);
    Response take();  // waits for the response under way
    void clock_pending(uint64_t cycles);
    void reset(uint64_t cycles);
    void stall(uint64_t percent, uint64_t seed) {
        state_.stall_percent = percent;
        state_.random = seed * 2 + 1;  // xorshift needs a state that is not zero
    }

    // Each says "ok", or "error" and why.
    std::string save(const char* path);
    std::string restore(const char* path);
    std::string trace(const char* path);
    std::string untrace();

    void answer(const std::string& text) {
        if (context_.gotFinish()) die("the design called $finish");
        std::fprintf(answers_, "%s\n", text.c_str());
        std::fflush(answers_);
    }

  private:
    // What a saved state holds besides the model's own.
    struct State {
        uint64_t cycles = 0;       // rising edges so far
        uint64_t accepted_at = 0;  // cycles before the edge that took the request
        uint64_t valid_at = 0;     // cycles when its response was first seen
        uint64_t random = 1;
        uint64_t stall_percent = 0;
        bool pending = false;  // a request is accepted, its response not yet taken
        bool valid_seen = false;
    };

    // Inputs change before low(), with the clock's falling edge; registers at high().
    void low() { half(0); }
    void high() {
        half(1);
        ++state_.cycles;
    }
    void half(uint8_t level) {
        context_.timeInc(1);
        top_.clk = level;
        top_.eval();
#ifdef HC_TRACE
        if (VL_UNLIKELY(trace_)) trace_->dump(context_.time());
#endif
    }
    void cycle() {
        low();
        high();
    }
    void await(uint64_t until);
    void look(uint64_t waited);

    // xorshift64: the same seed gives the same stalls on every machine.
    bool stalled() {
        uint64_t& r = state_.random;
        r ^= r << 13;
        r ^= r >> 7;
        r ^= r << 17;
        return (r >> 33) % 100 < state_.stall_percent;
    }

    VerilatedContext& context_;
    Vhc_top top_;
    FILE* answers_;
    uint64_t progress_;
    uint64_t limit_;
    uint64_t next_progress_ = kNever;
    pid_t parent_ = getppid();
    State state_;
#ifdef HC_TRACE
    std::unique_ptr<VerilatedFstC> trace_;
#endif
};

// What a long wait must not miss; waited: cycles since the request.
inline void Driver::look(uint64_t waited) {
    if (waited >= limit_) die("no response after " + std::to_string(waited) + " cycles");
    if (context_.gotFinish()) die("the design called $finish");
    if (waited >= next_progress_) {
        answer("p " + std::to_string(waited));
        next_progress_ = waited + progress_;
    }
    // Whoever would read the answer is gone: a killed parent leaves no simulator behind.
    if (getppid() != parent_) std::exit(1);
}

inline void Driver::request(Op op, uint64_t address, uint64_t data) {
    const uint64_t start = state_.cycles;
    next_progress_ = kNever;
    top_.rsp_ready = 0;
    while (state_.stall_percent && stalled()) cycle();
    top_.req_valid = 1;
    top_.req_op = op;
    top_.req_addr = static_cast<uint16_t>(address);
    top_.req_data = static_cast<uint32_t>(data);
    for (;;) {
        low();
        const bool ready = top_.req_ready;
        high();
        if (ready) break;
        if (top_.rsp_valid) die("host port: a response without a request");
        if ((state_.cycles & (kLookEvery - 1)) == 0) look(state_.cycles - start);
    }
    state_.accepted_at = state_.cycles - 1;
    state_.pending = true;
    state_.valid_seen = false;
    next_progress_ = progress_ ? progress_ : kNever;
    top_.req_valid = 0;
}

// Clocks until the response is valid, or until `until` cycles in all. rsp_ready is the caller's,
// or random under stalls. All of a long run's time is spent here.
inline void Driver::await(uint64_t until) {
    const bool stalls = state_.stall_percent != 0 && until == kNever;
    uint64_t next_look = state_.cycles + kLookEvery;
    while (!top_.rsp_valid && state_.cycles < until) {
        if (stalls) top_.rsp_ready = !stalled();
        cycle();
        if (VL_UNLIKELY(state_.cycles >= next_look)) {
            next_look += kLookEvery;
            look(state_.cycles - state_.accepted_at);
        }
    }
    if (top_.rsp_valid && !state_.valid_seen) {
        state_.valid_seen = true;
        state_.valid_at = state_.cycles;
    }
}

inline Response Driver::take() {
    top_.rsp_ready = 1;
    await(kNever);
    const uint32_t data = top_.rsp_data;
    const uint32_t error = top_.rsp_error;
    for (bool taken = false; !taken;) {
        taken = !(state_.stall_percent && stalled());
        top_.rsp_ready = taken;
        low();
        if (!top_.rsp_valid || top_.rsp_data != data || top_.rsp_error != error)
            die("host port: the response changed before it was taken");
        high();
    }
    top_.rsp_ready = 0;
    state_.pending = false;
    if (top_.rsp_valid) die("host port: a response without a request");
    return {data, error, state_.valid_at - state_.accepted_at};
}

// Until `cycles` after the pending request's acceptance; its response is left waiting.
inline void Driver::clock_pending(uint64_t cycles) {
    const uint64_t until = state_.accepted_at + cycles;
    top_.rsp_ready = 0;
    await(until);
    while (state_.cycles < until) cycle();
}

inline void Driver::reset(uint64_t cycles) {
    top_.rst_n = 0;
    top_.req_valid = 0;
    top_.rsp_ready = 0;
    for (uint64_t i = 0; i < cycles; ++i) cycle();
    top_.rst_n = 1;
    state_.pending = false;
}

inline std::string failure(const std::string& path) {
    return "error " + path + ": " + std::strerror(errno);
}

inline std::string Driver::save([[maybe_unused]] const char* path) {
#ifdef HC_SAVABLE
    // Written aside: under its final name a state is whole. The runtime ends us on a full disk.
    const std::string aside = std::string{path} + "." + std::to_string(getpid()) + ".part";
    {
        VerilatedSave file;
        file.open(aside.c_str());
        if (!file.isOpen()) return failure(aside);
        file.write(&state_, sizeof state_);
        file << top_;
    }
    if (std::rename(aside.c_str(), path) == 0) return "ok";
    const std::string why = failure(path);
    std::remove(aside.c_str());
    return why;
#else
    return "error built without savable";
#endif
}

inline std::string Driver::restore([[maybe_unused]] const char* path) {
#ifdef HC_SAVABLE
#ifdef HC_TRACE
    if (trace_) return "error a trace is being written: time must not go back in it";
#endif
    if (access(path, R_OK) != 0) return failure(path);  // the runtime would create it
    VerilatedRestore file;
    file.open(path);
    if (!file.isOpen()) return failure(path);
    file.read(&state_, sizeof state_);
    file >> top_;
    return "ok";
#else
    return "error built without savable";
#endif
}

inline std::string Driver::trace([[maybe_unused]] const char* path) {
#ifdef HC_TRACE
    if (trace_) return "error a trace is being written";
    auto file = std::make_unique<VerilatedFstC>();
    top_.trace(file.get(), 99);
    file->open(path);
    if (!file->isOpen()) return "error " + std::string{path} + ": cannot be written";
    file->dump(context_.time());
    trace_ = std::move(file);
    return "ok";
#else
    return "error built without trace";
#endif
}

inline std::string Driver::untrace() {
#ifdef HC_TRACE
    if (!trace_) return "error no trace is being written";
    trace_->close();
    trace_.reset();
    return "ok";
#else
    return "error built without trace";
#endif
}
