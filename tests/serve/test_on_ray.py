"""The same answers from replicas on Ray: a cluster of this machine alone."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from tests.serve.served import Server, chat, server

pytestmark = pytest.mark.verify  # a cluster takes half a minute to start

CHAT = "/v1/chat/completions"


def test_replicas_on_ray_answer_as_the_chip(tiny_image: Path, tiny_server: Server) -> None:
    pytest.importorskip("ray", reason="ray is missing: pip install 'hardcast[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
    options = ["--ray", "local", "--port", port, "--workers", "2", "--threads", "1"]
    with server(tiny_image, *options, "--name", "tiny") as running:
        for seed in range(6):
            body = chat(temperature=1, seed=seed, max_tokens=20)
            found = httpx.post(running.url + CHAT, json=body, timeout=60).json()
            wanted = httpx.post(tiny_server.url + CHAT, json=body, timeout=60).json()
            assert found["choices"] == wanted["choices"]
        with running.client() as client:
            with client.stream("POST", CHAT, json=chat(stream=True)) as response:
                assert response.read().endswith(b"data: [DONE]\n\n")
            assert client.post(CHAT, json=chat(n=0)).status_code == 400
        assert running.stop() == 0
