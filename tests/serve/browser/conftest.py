"""Chromium and a running server for the chat page's tests; skipped where one is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.serve import served
from tests.serve.browser.tab import Tab

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CONTEXT = 8192  # long enough for an answer to be stopped while it runs


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium: the system's, else playwright's own."""
    # Here, not above: a conftest that skips itself ends a run that names this folder.
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = found or (own if Path(own).is_file() else None)
        if path is None:
            pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} on PATH, nor playwright's")
        # The pages are our own and from this machine; root, as in containers, has no sandbox.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def long_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image with a long context."""
    return served.build_image(tmp_path_factory.mktemp("long"), context=CONTEXT)


@pytest.fixture(scope="session")
def long_server(long_image: Path) -> Iterator[served.Server]:
    """A server of it, without keys."""
    with served.server(long_image, "--name", "tiny", "--threads", "1") as running:
        yield running


@pytest.fixture
def open_tab(browser: Any, long_server: served.Server) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each with a storage of its own.

    At the end none may have asked anything of another machine, nor have an error in its console.
    """
    with ExitStack() as stack:

        def open_one(server: served.Server = long_server, path: str = "/", **options: Any) -> Tab:
            tab = Tab(browser.new_context(**options), server.url, path)
            stack.callback(tab.close)
            return tab

        yield open_one
