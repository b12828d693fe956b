// Drives hc_sample: a case a record on stdin, a line of answers on stdout.
//
//   record: uint64[10] inverse_temperature, top_k, top_p, seed, position, report_k, percent of
//           cycles without a word, cycles from in_last to start, seed of the driver's own choices,
//           cycle after start in which a reset strikes a first attempt (0: no such attempt);
//           then int32[VOCAB] logits
//   line:   token, cycles from start to done, rd_count, then rd_logit rd_token of each entry
//
// TR and VOCAB come with the compiler's flags. Padding lanes and idle cycles carry the largest
// logit there is, so that a sampler that looks at them fails.

#include "Vhc_sample.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace {

constexpr int kLargest = 0x7fffffff;
constexpr int kTooLong = 100'000'000;

void put(IData& port, const uint32_t* lanes) { port = lanes[0]; }
void put(QData& port, const uint32_t* lanes) { port = lanes[0] | uint64_t{lanes[1]} << 32; }
template <size_t N>
void put(VlWide<N>& port, const uint32_t* lanes) {
    for (size_t i = 0; i < N; i++) port[i] = lanes[i];
}

class Bench {
  public:
    Bench() {
        model_.clk = 0;
        model_.start = 0;
        model_.rd_index = 0;
        idle();
        reset();
    }

    void run(const uint64_t* setting, const std::vector<int32_t>& logits) {
        model_.inverse_temperature = setting[0];
        model_.top_k = setting[1];
        model_.top_p = setting[2];
        model_.seed = setting[3];
        model_.position = setting[4];
        model_.report_k = setting[5];
        if (setting[9]) {
            stream(setting, logits);
            model_.start = 1;
            tick();
            model_.start = 0;
            for (uint64_t i = 1; i < setting[9]; i++) tick();
            reset();
        }
        stream(setting, logits);
        model_.start = 1;
        tick();
        model_.start = 0;
        int cycles = 1;
        for (; !model_.done; cycles++) {
            if (cycles == kTooLong) {
                std::fprintf(stderr, "done never came\n");
                std::exit(1);
            }
            tick();
        }
        const uint32_t token = model_.token;
        const int count = model_.rd_count;
        std::printf("%u %d %d", token, cycles, count);
        // The read pipeline holds two; reading starts in the cycle of done itself. Without entries
        // the next stream starts in that cycle too.
        for (int i = 0; i < count + 2 && count; i++) {
            if (i >= 2) std::printf(" %d %u", static_cast<int>(model_.rd_logit), model_.rd_token);
            model_.rd_index = i < count ? i : 0;
            tick();
        }
        std::printf("\n");
        if (model_.done && count) {
            std::fprintf(stderr, "done is no pulse\n");
            std::exit(1);
        }
    }

  private:
    // All logits, up to the cycle before start.
    void stream(const uint64_t* setting, const std::vector<int32_t>& logits) {
        std::minstd_rand random(setting[8] % 1'000'000 + 1);
        for (size_t at = 0; at < logits.size(); at += TR) {
            while (random() % 100 < setting[6]) {
                idle();
                tick();
            }
            uint32_t lanes[TR];
            for (size_t i = 0; i < TR; i++)
                lanes[i] = at + i < logits.size() ? logits[at + i] : kLargest;
            put(model_.in_word, lanes);
            model_.in_valid = 1;
            model_.in_first = at == 0;
            model_.in_last = at + TR >= logits.size();
            model_.in_index = at;
            tick();
        }
        idle();
        for (uint64_t i = 1; i < setting[7]; i++) tick();
    }

    void reset() {
        model_.rst_n = 0;
        tick();
        tick();
        model_.rst_n = 1;
        tick();
    }

    void idle() {
        uint32_t lanes[TR];
        for (uint32_t& lane : lanes) lane = kLargest;
        put(model_.in_word, lanes);
        model_.in_valid = 0;
        model_.in_first = 1;
        model_.in_last = 1;
        model_.in_index = 0;
    }

    void tick() {
        model_.clk = 1;
        model_.eval();
        model_.clk = 0;
        model_.eval();
    }

    Vhc_sample model_;
};

}  // namespace

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    Bench bench;
    uint64_t setting[10];
    std::vector<int32_t> logits(VOCAB);
    while (std::fread(setting, sizeof setting, 1, stdin) == 1) {
        if (std::fread(logits.data(), sizeof(int32_t), VOCAB, stdin) != VOCAB) return 1;
        bench.run(setting, logits);
    }
    return 0;
}
