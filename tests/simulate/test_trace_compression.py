"""The LZ4 blocks of a trace file (hardcast/simulate/shim/lz4.h), decoded by their definition."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hardcast import toolchain
from hardcast.simulate.verilate import SHIM

PROGRAM = r"""
#include "lz4.h"
#include <cstdio>
int main() {
    std::vector<char> in;
    for (int c; (c = std::getchar()) != EOF;) in.push_back(static_cast<char>(c));
    std::vector<char> out(LZ4_compressBound(static_cast<int>(in.size())));
    const int size = LZ4_compress_default(in.data(), out.data(), static_cast<int>(in.size()),
                                          static_cast<int>(out.size()));
    std::fwrite(out.data(), 1, static_cast<size_t>(size), stdout);
}
"""


def lz4_decoded(block: bytes) -> bytes:
    """The LZ4 block format, read as its page defines it."""
    out = bytearray()
    at = 0

    def length(nibble: int) -> int:
        nonlocal at
        total, more = nibble, nibble == 15
        while more:
            more = block[at] == 255
            total += block[at]
            at += 1
        return total

    while True:
        token = block[at]
        at += 1
        count = length(token >> 4)
        out += block[at : at + count]
        at += count
        if at == len(block):
            return bytes(out)
        offset = int.from_bytes(block[at : at + 2], "little")
        assert 0 < offset <= len(out)
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_every_block_decodes_to_its_data(tmp_path: Path) -> None:
    (tmp_path / "x.cpp").write_text(PROGRAM)
    program = tmp_path / "x"
    flags = ["-std=c++20", "-fsanitize=address,undefined", "-I", str(SHIM)]
    toolchain.run(["g++", *flags, tmp_path / "x.cpp", "-o", program])
    noise = bytes((i * i * 2654435761 >> 13) & 255 for i in range(70_000))
    for data in (b"", b"abc", b"a" * 13, b"a" * 100_000, noise, noise[:300] * 5, b"ab" * 9 + noise):
        block = subprocess.run([program], input=data, capture_output=True, check=True).stdout
        assert lz4_decoded(block) == data
        # The end of a block: five literals at least, so its last bytes are the data's.
        assert block[-5:] == data[-5:] or len(data) < 5
    assert len(block) > 60_000
    block = subprocess.run([program], input=b"abcdefgh" * 9999, capture_output=True, check=True)
    assert len(block.stdout) < 500
