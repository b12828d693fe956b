"""Chromium for the datasheet's tests: they are skipped, and say why, where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardcast.image import open_image
from tests.chromium import chromium
from tests.report import pages


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, of one module's tests."""
    yield from chromium()


@pytest.fixture(scope="session")
def sheets(tmp_path_factory: pytest.TempPathFactory, image: Path, drawing: None) -> dict[str, Path]:
    """Datasheets as files: of one die, of several, of an image with a hostile name and all that
    can be measured.
    """
    folder = tmp_path_factory.mktemp("sheets")
    digest = open_image(image).digest
    measured = (pages.quality(folder, digest), pages.compared(folder, digest))
    given = [word for path in measured for word in ("--quality", str(path))]
    asked = {
        "one": ("llama-3.1-8b",),
        "several": ("llama-3.1-70b",),
        "image": (str(image), "--preset", "tiny", "--node", "sg13g2", *given),
    }
    found = {}
    for name, words in asked.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(pages.html(*words), "utf-8")
    return found
