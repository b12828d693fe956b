"""Fetching: a packaged model through the real pip from a local wheel, the cache, and hub ids."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib
import io
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from hardcast import cli
from hardcast.cache import cache_folder
from hardcast.checkpoint import open_checkpoint, packaged, packaged_models
from hardcast.checkpoint.fetch import cached, fetch, locate
from hardcast.checkpoint.hub import is_hub_id
from hardcast.checkpoint.packaged import PackagedModel, Part
from hardcast.console import Console
from hardcast.errors import HardcastError
from tests import real_model, tiny

# The package re-exports the function under the same name as the module.
fetch_module = importlib.import_module("hardcast.checkpoint.fetch")
verb = importlib.import_module("hardcast.commands.model.fetch")


METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"
CUT = 1000  # bytes of the file that lie in the first package


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A packaged model in two wheels that pip finds in a folder, and an empty cache."""
    data = tiny.write_gguf(tmp_path / "tiny.gguf", "llama", num_hidden_layers=1).read_bytes()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    parts = []
    for index, piece in enumerate((data[:CUT], data[CUT:])):
        name = f"tiny_model_{index}"
        with zipfile.ZipFile(shelf / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            info = f"{name}-1.0.dist-info/"
            wheel.writestr(f"{name}/piece.bin", piece)
            wheel.writestr(info + "METADATA", METADATA.format(name))
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(info + "RECORD", "")
        parts.append(Part(name.replace("_", "-"), "1.0", f"{name}/piece.bin", 1 << 20))
    model = PackagedModel(
        name="tiny-model",
        title="a tiny model",
        file="tiny.gguf",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        license="Apache-2.0",
        parts=tuple(parts),
    )
    monkeypatch.setenv("HARDCAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    stock(monkeypatch, model)
    return model


def stock(monkeypatch: pytest.MonkeyPatch, model: PackagedModel) -> None:
    """Makes `model` the one packaged model."""
    monkeypatch.setattr(fetch_module, "packaged_models", lambda: {model.name: model})


def files(folder: Path) -> list[str]:
    """Every file below a folder that is kept, by name."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_fetch_then_offline(shelf: PackagedModel, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    path, digest = fetch("tiny-model", lambda *step: seen.append(step))
    assert path.is_relative_to(tmp_path / "cache")
    assert digest == shelf.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for part in shelf.parts:
        assert any(f"downloading {part.wanted}" in step[0] for step in seen)
    assert seen[-1][1:] == (shelf.size_bytes, shelf.size_bytes)
    assert files(tmp_path / "cache") == ["tiny.gguf"]
    # Nothing left to download from: the cache alone must do.
    for wheel in (tmp_path / "shelf").iterdir():
        wheel.unlink()
    assert cached("tiny-model") == path
    assert fetch("tiny-model") == (path, digest)
    assert open_checkpoint("tiny-model").config.num_hidden_layers == 1


def test_damaged_cache_is_fetched_again(shelf: PackagedModel) -> None:
    path, digest = fetch("tiny-model")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert fetch("tiny-model") == (path, digest)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_terms_are_accepted_before_anything_is_downloaded(
    shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = dataclasses.replace(shelf, license="Some Terms", terms="https://example.org/terms")
    stock(monkeypatch, bound)
    monkeypatch.setattr(verb, "packaged_models", lambda: {bound.name: bound})
    wanted = "read https://example.org/terms, and if you accept them: hardcast fetch tiny-model"
    for attempt in (fetch, locate, open_checkpoint):
        with pytest.raises(HardcastError, match=wanted):
            attempt("tiny-model")
    assert files(tmp_path / "cache") == []
    assert cli.main(["fetch", "tiny-model"]) == 2
    assert cli.main(["fetch", "tiny-model", "--accept-terms"]) == 0
    # What is in the cache was accepted: every verb takes it.
    assert open_checkpoint("tiny-model").config.num_hidden_layers == 1
    assert cli.main(["fetch", "tiny-model"]) == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 2), ("", 2)])
def test_a_person_is_asked(
    shelf: PackagedModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
) -> None:
    bound = dataclasses.replace(shelf, license="Some Terms", terms="https://example.org/terms")
    stock(monkeypatch, bound)
    monkeypatch.setattr(verb, "packaged_models", lambda: {bound.name: bound})
    monkeypatch.setattr(Console, "is_terminal", True)
    keyboard = io.StringIO(answer)
    keyboard.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", keyboard)
    assert cli.main(["fetch", "tiny-model"]) == code
    assert "Some Terms: https://example.org/terms" in capsys.readouterr().out
    assert (cached("tiny-model") is not None) == (code == 0)


def test_wrong_hash_keeps_nothing(
    shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(monkeypatch, dataclasses.replace(shelf, sha256="0" * 64))
    with pytest.raises(HardcastError, match="not the file that was vetted"):
        fetch("tiny-model")
    assert files(tmp_path / "cache") == []
    # A file that is longer than pinned is not written to its end.
    stock(monkeypatch, dataclasses.replace(shelf, size_bytes=CUT + 1))
    with pytest.raises(HardcastError, match="not the file that was vetted"):
        fetch("tiny-model")
    assert files(tmp_path / "cache") == []


def test_package_without_the_file(
    shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(shelf.parts[1], member="tiny_model/other.gguf")
    stock(monkeypatch, dataclasses.replace(shelf, parts=(shelf.parts[0], other)))
    with pytest.raises(HardcastError, match="does not hold tiny_model/other.gguf"):
        fetch("tiny-model")
    assert files(tmp_path / "cache") == []


def test_no_network(shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        HardcastError, match="tiny-model-0==1.0: pip could not download it"
    ) as caught:
        fetch("tiny-model")
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "cache") == []


def test_cache_that_cannot_be_written(
    shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HARDCAST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(HardcastError, match="cannot be written.*set HARDCAST_CACHE"):
        fetch("tiny-model")


def test_full_disk(shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packaged.os, "fsync", full)
    with pytest.raises(HardcastError, match="No space left on device; set HARDCAST_CACHE"):
        fetch("tiny-model")
    assert files(tmp_path / "cache") == []


def test_interrupted_download_leaves_nothing(shelf: PackagedModel, tmp_path: Path) -> None:
    def interrupt(description: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("tiny-model", interrupt)
    assert files(tmp_path / "cache") == []


def test_local_paths(tmp_path: Path) -> None:
    file = tiny.write_gguf(tmp_path / "m.gguf", "llama", num_hidden_layers=1)
    assert fetch(str(file)) == (file, hashlib.sha256(file.read_bytes()).hexdigest())
    folder = tiny.write_safetensors(tmp_path / "folder", "llama", num_hidden_layers=1)
    path, digest = fetch(str(folder))
    assert path == folder
    (folder / "config.json").write_text("{}")
    assert fetch(str(folder))[1] != digest
    # A folder with one .gguf file stands for it; with two, the user must say which.
    assert open_checkpoint(tmp_path).path == file
    tiny.write_gguf(tmp_path / "n.gguf", "llama", num_hidden_layers=1)
    with pytest.raises(HardcastError, match=r"holds 2 .gguf files \(m.gguf, n.gguf\); name one"):
        open_checkpoint(tmp_path)
    with pytest.raises(HardcastError, match="give its folder instead"):
        open_checkpoint(folder / "model.safetensors")


def test_unknown_model_names_what_there_is(tmp_path: Path) -> None:
    for name in ("no-such-model", str(tmp_path / "missing"), "../a/b", "a b/c", f"{tmp_path}/x/y"):
        with pytest.raises(HardcastError, match="no such file or folder.*smollm2-135m"):
            locate(name)
    with pytest.raises(HardcastError, match="empty"):
        locate("")
    with pytest.raises(HardcastError, match="NUL"):
        locate("a\0b")


def test_mistyped_path_does_not_ask_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(fetch_module, "fetch_from_hub", lambda model: pytest.fail("asked the hub"))
    with pytest.raises(HardcastError, match="no such file or folder"):
        locate("models/smollm")


def test_hub_ids() -> None:
    assert is_hub_id("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert is_hub_id("org/name.v2/sub/file.Q4_0.gguf")
    for text in ("name", "/abs/path", "./a", "../a", "a/b/c", "a/b/c.bin", "org/", "a//b"):
        assert not is_hub_id(text), text


def run_python(code: str, **environment: str) -> str:
    """Standard output of Python code in a fresh process, as the hub's settings are read once."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_hub_model_from_the_hubs_own_cache(tmp_path: Path) -> None:
    """The real huggingface_hub, offline, on a cache laid out as it lays it."""
    pytest.importorskip("huggingface_hub")
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--org--tiny"
    tiny.write_safetensors(repository / "snapshots" / commit, "qwen3", num_hidden_layers=1)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = """
        from hardcast.checkpoint import open_checkpoint
        from hardcast.errors import HardcastError
        print(open_checkpoint("org/tiny").config.architecture)
        try:
            open_checkpoint("org/other")
        except HardcastError as error:
            print(error)
    """
    lines = run_python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)).splitlines()
    assert lines[0] == "qwen3"
    assert lines[1].startswith("org/other: no such local path, and the Hugging Face hub")
    assert len(lines) == 2


def test_hub_extra_not_installed() -> None:
    code = """
        import sys
        sys.modules["huggingface_hub"] = None  # as if it were not installed
        from hardcast.checkpoint import open_checkpoint
        from hardcast.errors import HardcastError
        try:
            open_checkpoint("org/tiny")
        except HardcastError as error:
            print(error)
    """
    assert "pip install 'hardcast[hub]'" in run_python(code)


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_table(name: str) -> None:
    model = packaged_models()[name]
    assert model.name == name
    assert model.terms or model.license == "Apache-2.0"  # others ask for consent
    assert len(model.sha256) == 64 and Path(model.file).name == model.file
    for part in model.parts:
        assert part.member.startswith(part.package.replace("-", "_") + "/")
    assert cache_folder().name


def test_a_part_that_is_missing(shelf: PackagedModel, tmp_path: Path) -> None:
    """Nothing of the parts before it is kept either."""
    (tmp_path / "shelf" / "tiny_model_1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(HardcastError, match="tiny-model-1==1.0: pip could not download it"):
        fetch("tiny-model")
    assert files(tmp_path / "cache") == []


def test_parts_in_the_wrong_order(
    shelf: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(monkeypatch, dataclasses.replace(shelf, parts=shelf.parts[::-1]))
    with pytest.raises(HardcastError, match="not the file that was vetted"):
        fetch("tiny-model")
    assert files(tmp_path / "cache") == []


def test_packaged_model_as_fetched() -> None:
    path = real_model.smollm2()
    assert fetch("smollm2-135m") == (path, packaged_models()["smollm2-135m"].sha256)
    config = open_checkpoint("smollm2-135m").config
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (30, 576, 49152)
    assert config.rope_theta == 100000.0
