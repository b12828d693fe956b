"""One small image for this folder, and copies of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hardcast.image import Image, open_image
from tests.random_image import config, write_random_image


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A small image with biases and an untied head."""
    model = config("qwen2", num_hidden_layers=1, tie_word_embeddings=False, sliding_window=9)
    return write_random_image(tmp_path_factory.mktemp("image") / "whole", model, context=200)


@pytest.fixture
def image(original: Image, tmp_path: Path) -> Image:
    """A copy that a test may spoil."""
    return open_image(shutil.copytree(original.path, tmp_path / "image"))
