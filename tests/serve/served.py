"""A server as a user starts it, in a process of its own, on a tiny image."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hardcast import cli
from tests import tiny

CONTEXT = 128
READY = re.compile(r" at (http://\S+)/v1 ")
START_LIMIT_S = 60.0  # on a machine that is busy with other tests

TOOL_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\nTools, called by <tool_call> tags: ' }}"
    "{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{% for call in message.tool_calls or [] %}{{ '<tool_call>' }}{{ call.function | tojson }}"
    "{{ '</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_image(folder: Path, template: str | None = None, context: int = CONTEXT) -> Path:
    """A tiny chip image; template: its chat template if it is not the usual one."""
    metadata = {} if template is None else {"tokenizer.chat_template": template}
    sizes = {"max_position_embeddings": context}
    model = tiny.write_gguf(folder / "tiny.gguf", "llama", metadata=metadata, **sizes)
    out = folder / "tiny.image"
    assert (
        cli.main(
            ["build", str(model), "--recipe", "4bit", "-o", str(out), "--context", str(context)]
        )
        == 0
    )
    return out


@dataclass
class Server:
    """A running server. lines: what it said on stderr so far."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def api(self) -> str:
        """What OpenAI's clients call the base URL."""
        return self.url + "/v1"

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        """An HTTP client for it."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        headers |= options.pop("headers", {})
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def server(
    image: Path, *options: str, preexec: Callable[[], None] | None = None
) -> Iterator[Server]:
    """Starts `hardcast serve` on a free port and ends it with the block."""
    command = [sys.executable, "-m", "hardcast", "serve", str(image), "--port", "0", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=preexec
    )
    running = Server(process)
    try:
        threading.Thread(target=_read, args=(running,), daemon=True).start()
        limit = time.monotonic() + START_LIMIT_S
        while not running.url:
            assert process.poll() is None and time.monotonic() < limit, running.lines
            time.sleep(0.01)
        wait_for(lambda: _answers(running), "an answer to /health")
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _read(running: Server) -> None:
    assert running.process.stderr is not None
    for line in running.process.stderr:
        running.lines.append(line.rstrip("\n"))
        if found := READY.search(line):
            running.url = found[1]


def _answers(running: Server) -> bool:
    try:
        return httpx.get(running.url + "/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Waits until something holds; fails with its name when it does not."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"no {what} in {seconds:.0f} s"
        time.sleep(0.02)


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream; fails unless it ends with [DONE]."""
    ended = False
    for line in response.iter_lines():
        if line.startswith("data: "):
            assert not ended
            if line == "data: [DONE]":
                ended = True
            else:
                yield json.loads(line.removeprefix("data: "))
    assert ended


def chat(content: str = "hello there", **more: Any) -> dict[str, Any]:
    """The body of a chat request; greedy unless it is said."""
    messages = [{"role": "user", "content": content}]
    return {"messages": messages, "temperature": 0, "max_tokens": 8, **more}


def texts(streamed: Sequence[dict[str, Any]], index: int = 0) -> str:
    """The text of one answer of a stream."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in streamed
        for choice in event["choices"]
        if choice["index"] == index
    )


def metric(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    assert found, f"no {name}"
    return sum(map(float, found))
