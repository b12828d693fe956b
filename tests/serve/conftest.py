"""A tiny image and a running server of it, made once for all tests of the room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

# Without the extra there is nothing here to test.
for package in ("starlette", "uvicorn", "prometheus_client", "llguidance", "httpx"):
    pytest.importorskip(package, reason=f"{package} is missing: pip install 'hardcast[serve]'")

from tests.serve import served  # noqa: E402


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chip image with a chat template and a context of 128."""
    return served.build_image(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def tools_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with a template that knows tools."""
    folder = tmp_path_factory.mktemp("tools")
    return served.build_image(folder, served.TOOL_TEMPLATE, context=1024)


@pytest.fixture(scope="session")
def tiny_server(tiny_image: Path) -> Iterator[served.Server]:
    """A server of the tiny image without keys."""
    with served.server(tiny_image, "--name", "tiny", "--threads", "1") as running:
        yield running


@pytest.fixture(scope="session")
def tools_server(tools_image: Path) -> Iterator[served.Server]:
    """A server of the image that knows tools."""
    with served.server(tools_image, "--name", "tiny", "--threads", "1") as running:
        yield running
