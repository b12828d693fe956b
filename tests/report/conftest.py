"""Fixtures of the datasheet's tests. Without the extra that draws they are skipped, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardcast import flow
from tests import tiny
from tests.report.pages import HOSTILE


@pytest.fixture(scope="session")
def drawing() -> None:
    """Of tests that draw plots."""
    pytest.importorskip("vl_convert", reason="plots need vl-convert-python: the extra `report`")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image whose folder's name would be markup if anything let it."""
    folder = tmp_path_factory.mktemp("image")
    model = tiny.write_gguf(folder / "tiny.gguf", "llama")
    flow.build(str(model), folder / HOSTILE, context=64, recipe="4bit")
    return folder / HOSTILE
