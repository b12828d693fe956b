"""`hardcast serve` as a verb: what it refuses in one line, what it says, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hardcast import cli
from hardcast.commands._parameters import origin
from hardcast.commands.talk import serve
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.serve.http.access_log import AccessLog
from hardcast.serve.http.call import Call
from hardcast.serve.http.gate import is_local
from hardcast.serve.server import is_loopback
from tests.serve.served import server


def failed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_log_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    """A named pipe takes the lines where somebody reads it, and is refused where nobody does."""
    path = tmp_path / "log"
    os.mkfifo(path)
    with pytest.raises(HardcastError, match="log: cannot be written: .*; name a file"):
        AccessLog(str(path))
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        AccessLog(str(path)).write(Call("1", "a", "b"), "GET", "/", 200, 0.1)
        assert b'"status": 200' in os.read(reading, 1000)
    finally:
        os.close(reading)


def test_what_cannot_be_served_is_one_line(
    tiny_image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not a chip image" in failed(["serve", str(tmp_path)], capsys)
    image = str(tiny_image)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}" in failed(["serve", image, "--port", port], capsys)
    for options in (
        ["--port", "65536"],
        ["--workers", "0"],
        ["--kv-positions", "1"],
        ["--path", "none"],
        ["--keys", "--no-keys"],
        ["--host", "no.such.host.invalid", "--no-keys"],
        ["--access-log", str(tmp_path / "no" / "folder"), "--port", "0"],
        ["--allow-origin", "chat.example"],
        ["--allow-origin", "https://chat.example/page"],
        ["--allow-origin", "null"],
        ["--proxy", "proxy.example"],
        ["--proxy", "10.0.0.1/8"],
    ):
        failed(["serve", image, *options], capsys)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_without_the_extra_one_line_says_what_to_install(package: str, tiny_image: Path) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from hardcast import cli; sys.exit(cli.main(['serve', {str(tiny_image)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'hardcast[serve]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_ends_it_well(number: int, tiny_image: Path) -> None:
    with server(tiny_image, "--threads", "1") as running:
        assert running.stop(number) == 0
        assert running.lines == [line for line in running.lines if " at http://" in line]


def test_what_is_this_machine() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("localhost")
    assert is_loopback("::1")
    for beyond in ("0.0.0.0", "::", "", "192.0.2.1", "no.such.host.invalid"):
        assert not is_loopback(beyond)


def test_which_host_names_are_local() -> None:
    for host in ("localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:8", "[::1]:80", "[::1]"):
        assert is_local(host)
    for host in (
        "evil.example",
        "localhost.evil.example:80",
        "127.0.0.1.evil.example",
        "[::1",
        "a",
    ):
        assert not is_local(host)


def test_the_help_says_a_share_of_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """argparse takes a lone % for a place to fill in."""
    assert cli.main(["serve", "--help"]) == 0
    assert "a 25% share of this machine's memory" in " ".join(capsys.readouterr().out.split())


def test_an_origin_is_what_browsers_send() -> None:
    for text, sent in (
        ("https://Chat.example", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://chat.example:443", "http://chat.example:443"),
        ("http://[::1]:80", "http://[::1]"),
        ("app://localhost", "app://localhost"),
        ("*", "*"),
    ):
        assert origin(text) == sent


def test_memory_for_keys_and_values_has_a_bound_by_itself(tiny_image: Path) -> None:
    image = open_image(tiny_image)
    one, four = (serve.fitting_positions(image, workers) for workers in (1, 4))
    assert 64 <= four <= one
    shape = image.program.shape
    heads = shape.num_hidden_layers * shape.num_key_value_heads
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0.24 < one * heads * 2 * (shape.head_dim + 1) / whole <= 0.25
