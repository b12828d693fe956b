"""Chromium for the datasheet's tests: they are skipped, and say why, where it is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report import pages

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium: the system's, else playwright's own."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: the extra `browser`"
    )
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = found or (own if Path(own).is_file() else None)
        if path is None:
            pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} on PATH, nor playwright's")
        # The pages are our own and offline; root, as in containers, has no sandbox.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def sheets(tmp_path_factory: pytest.TempPathFactory, image: Path, drawing: None) -> dict[str, Path]:
    """Datasheets as files: of one die, of several, of an image with a hostile name."""
    folder = tmp_path_factory.mktemp("sheets")
    asked = {
        "one": ("llama-3.1-8b",),
        "several": ("llama-3.1-70b",),
        "image": (str(image), "--preset", "tiny", "--node", "sg13g2"),
    }
    found = {}
    for name, words in asked.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(pages.html(*words), "utf-8")
    return found
