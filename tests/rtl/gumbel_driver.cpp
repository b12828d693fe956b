// Drives hc_gumbel: uint32 random words on stdin, one a cycle but for a gap after every seventh;
// int32 noise of each on stdout.

#include "Vhc_gumbel.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>

constexpr int kLatency = 11;

int main() {
    Vhc_gumbel model;
    uint32_t pipeline = 0;  // bit k: a word k + 1 cycles old
    auto tick = [&](bool valid) {
        model.in_valid = valid;
        model.clk = 1;
        model.eval();
        model.clk = 0;
        model.eval();
        pipeline = pipeline << 1 | (valid && model.rst_n);
        if (pipeline >> (kLatency - 1) & 1) {
            const int32_t noise = static_cast<int32_t>(model.noise << 9) >> 9;  // 23 bits
            std::fwrite(&noise, sizeof noise, 1, stdout);
        }
    };
    model.clk = 0;
    model.rst_n = 0;
    tick(false);
    model.rst_n = 1;
    uint32_t word;
    for (int i = 0; std::fread(&word, sizeof word, 1, stdin) == 1; i++) {
        model.in_word = word;
        tick(true);
        if (i % 7 == 6) tick(false);
    }
    for (int i = 0; i < kLatency; i++) tick(false);
    return 0;
}
