"""Chromium for tests of pages: skipped, and saying why, where it is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> Iterator[Any]:
    """The system's Chromium, else playwright's own: what a fixture of a module's scope yields from.

    No wider scope: while playwright is open its event loop runs in the test's thread, where tests
    of other modules could then begin none of their own.
    """
    # Here, not above: a conftest that skips itself ends a run that names its folder.
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: the extra `browser`"
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
