"""The host port of a tiny chip, under cocotb: test_cocotb.py runs it and gives it golden's answers.

The bench looks and drives at falling edges: what both sides show then, the rising edge takes.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

READ, WRITE, RUN, NONE = range(4)
USERS, CONTEXT, VOCABULARY, LANES, ERROR = 0x08, 0x09, 0x0A, 0x0B, 0x10
CYCLES, KINDS = 0x20, 4
TOKEN, POSITION, ACTIVE, TEMPERATURE, TOP_K, TOP_P, SEED, REPORT = 0, 1, 2, 3, 4, 5, 6, 8
TOKEN_OUT, INDEX, LOGIT, LOGIT_TOKEN, COUNT = 9, 10, 11, 12, 13
RESET_VALUES = {ACTIVE: (1, 0), TOP_P: (65536, 65536)}  # of users 0 and 1; others are 0

EXPECTED = json.loads(Path(os.environ["HARDCAST_EXPECTED"]).read_text())


@dataclass
class Response:
    data: int
    error: int


@dataclass
class Host:
    """The host's side of the port. stall: per cent of cycles in which it is not ready, or waits."""

    dut: Any
    rng: random.Random
    stall: int = 0
    asked: int = 0
    answers: list[Response] = field(default_factory=list)
    cycles: int = 0
    _open: Response | None = None  # a response that stood before the last edge, not taken

    async def start(self) -> None:
        """The clock, what takes the responses, and a reset."""
        dut = self.dut
        dut.rst_n.value, dut.req_valid.value, dut.rsp_ready.value = 0, 0, 0
        dut.req_op.value, dut.req_addr.value, dut.req_data.value = 0, 0, 0
        cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
        cocotb.start_soon(self._take())
        await self.reset()

    async def reset(self, cycles: int = 3) -> None:
        self.dut.rst_n.value = 0
        self.dut.req_valid.value = 0
        await self.wait(cycles)
        self._open = None
        self.asked = len(self.answers)
        self.dut.rst_n.value = 1
        assert not self.dut.rsp_valid.value and self.dut.req_ready.value

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)

    async def _take(self) -> None:
        """Takes responses at random; each must stand unchanged until it is taken."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            self.cycles += 1
            ready = self.rng.randrange(100) >= self.stall
            dut.rsp_ready.value = int(ready)
            if not dut.rst_n.value:
                self._open = None
                continue
            if not dut.rsp_valid.value:
                assert self._open is None, "a response was withdrawn"
                continue
            assert not dut.req_ready.value, "a second request would be taken"
            now = Response(int(dut.rsp_data.value), int(dut.rsp_error.value))
            assert self._open in (None, now), "a response changed"
            assert len(self.answers) < self.asked, "a response that nobody asked for"
            self._open = None if ready else now
            if ready:
                self.answers.append(now)

    async def send(self, op: int, addr: int = 0, data: int = 0) -> None:
        """Gives a request to the chip, after a random gap; returns when it is accepted."""
        dut = self.dut
        while self.rng.randrange(100) < self.stall:
            await FallingEdge(dut.clk)
        dut.req_valid.value = 1
        dut.req_op.value, dut.req_addr.value, dut.req_data.value = op, addr, data
        while not dut.req_ready.value:
            await FallingEdge(dut.clk)
        self.asked += 1
        await FallingEdge(dut.clk)
        dut.req_valid.value = 0
        # what the lines say without valid must not matter
        dut.req_op.value, dut.req_addr.value = self.rng.randrange(4), self.rng.randrange(1 << 16)

    async def answer(self, limit: int = 100_000) -> Response:
        """The response of the last request."""
        for _ in range(limit):
            if len(self.answers) == self.asked:
                return self.answers[-1]
            await FallingEdge(self.dut.clk)
        raise AssertionError("no response")

    async def ask(self, op: int, addr: int = 0, data: int = 0) -> Response:
        await self.send(op, addr, data)
        return await self.answer()

    async def read(self, addr: int) -> int:
        response = await self.ask(READ, addr)
        assert response.error == 0, hex(addr)
        return response.data

    async def write(self, addr: int, data: int) -> None:
        assert await self.ask(WRITE, addr, data) == Response(data, 0), hex(addr)

    async def run(self, logits: bool = True) -> Response:
        return await self.ask(RUN, 0, int(logits))

    async def registers(self) -> list[int]:
        """Everything that a user can set, of all users."""
        return [await self.read(user(u, r)) for u in range(2) for r in (*range(9), INDEX)]


def user(which: int, register: int) -> int:
    return 0x100 + 32 * which + register


async def begin(dut: Any, seed: int, stall: int = 0) -> Host:
    host = Host(dut, random.Random(seed), stall)
    await host.start()
    return host


async def settle(host: Host) -> None:
    """The samplers' settings that golden's answers are for; both users active."""
    for u, settings in enumerate(EXPECTED["settings"]):
        await host.write(user(u, ACTIVE), 1)
        for register, value in settings.items():
            await host.write(user(u, int(register)), value)
        await host.write(user(u, REPORT), EXPECTED["report"])


async def check_tokens(host: Host, count: int) -> None:
    """Runs the first tokens of both users; logits, choices, positions and counters are golden's."""
    for position, step in enumerate(EXPECTED["steps"][:count]):
        for u, token in enumerate(step["tokens"]):
            await host.write(user(u, TOKEN), token)
        response = await host.run()
        assert response == Response(step["next"][0], 0), position
        for u in range(2):
            assert await host.read(user(u, TOKEN_OUT)) == step["next"][u], (position, u)
            assert await host.read(user(u, POSITION)) == position + 1
            assert await host.read(user(u, COUNT)) == len(step["top"][u])
            top = []
            for index in range(len(step["top"][u])):
                await host.write(user(u, INDEX), index)
                logit = await host.read(user(u, LOGIT))
                top.append([await host.read(user(u, LOGIT_TOKEN)), logit - (logit >> 31 << 32)])
            assert top == step["top"][u], (position, u)
        counted = [await host.read(CYCLES + i) for i in range(KINDS + 1)]
        assert counted == step["cycles"], position


@cocotb.test()
async def registers(dut: Any) -> None:
    host = await begin(dut, 1, stall=50)
    words = [await host.read(i) for i in range(8)]
    assert "".join(f"{word:08x}" for word in words) == EXPECTED["digest"]
    chip = [await host.read(i) for i in (USERS, CONTEXT, VOCABULARY, LANES)]
    assert chip == EXPECTED["chip"]
    for u in range(2):
        for register in (*range(9), INDEX):
            wanted = RESET_VALUES.get(register, (0, 0))[u]
            assert await host.read(user(u, register)) == wanted, (u, register)
    # every register keeps its own value
    values = {}
    for u in range(2):
        for register in (*range(9), INDEX):
            width = {ACTIVE: 1, INDEX: 8}.get(register, 32)
            values[user(u, register)] = host.rng.randrange(1 << 32)
            await host.write(user(u, register), values[user(u, register)])
            values[user(u, register)] &= (1 << width) - 1
    for address, value in values.items():
        assert await host.read(address) == value, hex(address)
    assert len(host.answers) == host.asked


@cocotb.test()
async def refusals_change_nothing(dut: Any) -> None:
    host = await begin(dut, 2, stall=30)
    await settle(host)
    vocabulary, context = EXPECTED["chip"][2], EXPECTED["chip"][1]
    refused = [
        (1, TOKEN, vocabulary),
        (1, TOKEN, 1 << 31),
        (2, POSITION, context),
        (4, TOP_K, 257),
        (4, REPORT, 257),
        (4, TOP_P, 0),
        (4, TOP_P, 65537),
        (4, TEMPERATURE, 1 << 20),
    ]
    for error, register, value in refused:
        for u in range(2):
            good = await host.read(user(u, register))
            await host.write(user(u, register), value)
            before = await host.registers()
            assert await host.run() == Response(0, error), (register, value)
            assert await host.read(ERROR) == error
            assert await host.registers() == before
            await host.write(user(u, register), good)
    for u in range(2):
        await host.write(user(u, ACTIVE), 0)
    assert await host.run() == Response(0, 3)
    assert await host.read(ERROR) == 3
    # an idle user's settings do not count
    await host.write(user(0, ACTIVE), 1)
    await host.write(user(1, TOKEN), vocabulary)
    before = await host.registers()
    # no such address: behind the last user, between the registers, and those that are only read
    holes = (0x0C, 0x11, 0x20 + KINDS + 1, 0xFF, user(0, 14), user(1, 31), user(2, 0), 0xFFFF)
    for address in holes:
        assert await host.ask(READ, address) == Response(0, 5), hex(address)
    for address in (*holes, USERS, ERROR, CYCLES, user(0, TOKEN_OUT), user(1, LOGIT)):
        assert (await host.ask(WRITE, address, 123)).error == 5, hex(address)
    assert await host.ask(NONE, user(0, TOKEN), 7) == Response(0, 6)
    assert await host.registers() == before
    assert (await host.run()).error == 0
    assert await host.read(ERROR) == 0


@cocotb.test()
async def tokens_under_back_pressure(dut: Any) -> None:
    host = await begin(dut, 3, stall=60)
    await settle(host)
    await check_tokens(host, 3)


@cocotb.test()
async def reset_in_the_middle(dut: Any) -> None:
    host = await begin(dut, 4)
    total = EXPECTED["steps"][0]["cycles"][0]
    for part in (3, total // 3, total - 40, total - 2, host.rng.randrange(total)):
        await settle(host)
        await host.write(user(0, TOKEN), EXPECTED["steps"][1]["tokens"][0])
        await host.send(RUN, 0, 1)
        await host.wait(part)
        assert len(host.answers) < host.asked
        await host.reset(host.rng.randrange(1, 4))
        assert await host.read(user(0, POSITION)) == 0
        assert await host.read(CYCLES) == 0
    await settle(host)
    await check_tokens(host, 2)


@cocotb.test()
async def only_active_users_move(dut: Any) -> None:
    """User 1 waits through user 0's first token, then gets his own first while user 0 waits."""
    host = await begin(dut, 5, stall=20)
    await settle(host)
    first = EXPECTED["steps"][0]
    for u in (0, 1):
        for other in (0, 1):
            await host.write(user(other, ACTIVE), int(other == u))
        await host.write(user(u, TOKEN), first["tokens"][u])
        before = await host.read(user(1 - u, POSITION))
        response = await host.run()
        assert response.error == 0
        assert await host.read(user(u, TOKEN_OUT)) == first["next"][u]
        assert await host.read(user(u, POSITION)) == 1
        assert await host.read(user(1 - u, POSITION)) == before
    # without logits: a shorter run, the position moves, and the next token sees this one
    second, third = EXPECTED["steps"][1:3]
    for u in (0, 1):
        await host.write(user(u, ACTIVE), 1)
        await host.write(user(u, TOKEN), second["tokens"][u])
    assert (await host.run(logits=False)).error == 0
    assert await host.read(CYCLES) < second["cycles"][0]
    for u in (0, 1):
        assert await host.read(user(u, POSITION)) == 2
        await host.write(user(u, TOKEN), third["tokens"][u])
    assert (await host.run()).error == 0
    assert [await host.read(user(u, TOKEN_OUT)) for u in (0, 1)] == third["next"]
