// The two functions of LZ4 that Verilator's FST writer calls, so that a trace needs no liblz4 and
// its headers. Writes the LZ4 block format (lz4_Block_format.md): any reader takes it.

#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

namespace hardcast_lz4 {

constexpr int kLeastMatch = 4;
constexpr int kLastLiterals = 5;    // a block ends in at least so many literals,
constexpr int kLastMatchStart = 12;  // and its last match starts at least so far from the end
constexpr int kFarthest = 65535;
constexpr int kTableBits = 14;

// A length's part beyond the 15 that its half of the token holds.
inline uint8_t* put_length(uint8_t* out, int length) {
    if (length < 15) return out;
    for (length -= 15; length >= 255; length -= 255) *out++ = 255;
    *out++ = static_cast<uint8_t>(length);
    return out;
}

// One sequence: literals, then a match of `match` bytes, `offset` back (none at the end: 0).
inline uint8_t* put(uint8_t* out, const uint8_t* literals, int count, int match, int offset) {
    const int rest = match ? match - kLeastMatch : 0;
    *out++ = static_cast<uint8_t>((count < 15 ? count : 15) << 4 | (rest < 15 ? rest : 15));
    out = put_length(out, count);
    std::memcpy(out, literals, static_cast<size_t>(count));
    out += count;
    if (!match) return out;
    *out++ = static_cast<uint8_t>(offset);
    *out++ = static_cast<uint8_t>(offset >> 8);
    return put_length(out, rest);
}

}  // namespace hardcast_lz4

// Greedy, with the last place of each hash of four bytes. capacity must be the bound of size or
// more, as its caller gives it: else 0, LZ4's own answer.
inline int LZ4_compress_default(const char* from, char* to, int size, int capacity) {
    using namespace hardcast_lz4;
    if (size < 0 || capacity < LZ4_compressBound(size)) return 0;
    const auto* in = reinterpret_cast<const uint8_t*>(from);
    auto* out = reinterpret_cast<uint8_t*>(to);
    std::vector<int> last(size_t{1} << kTableBits, -1);
    int anchor = 0;
    for (int at = 0; at <= size - kLastMatchStart;) {
        uint32_t word;
        std::memcpy(&word, in + at, sizeof word);
        int& slot = last[word * 2654435761u >> (32 - kTableBits)];
        const int before = slot;
        slot = at;
        if (before < 0 || at - before > kFarthest || std::memcmp(in + before, in + at, 4) != 0) {
            ++at;
            continue;
        }
        int match = kLeastMatch;
        while (at + match < size - kLastLiterals && in[before + match] == in[at + match]) ++match;
        out = put(out, in + anchor, at - anchor, match, at - before);
        at += match;
        anchor = at;
    }
    out = put(out, in + anchor, size - anchor, 0, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(to));
}
