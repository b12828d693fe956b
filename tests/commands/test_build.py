"""`hardcast build` and what can go wrong: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli, flow
from hardcast.console import Bars
from hardcast.image import open_image
from hardcast.image.layout import MANIFEST
from hardcast.quantize import recipe as recipes
from tests import tiny

FOUR = ["--recipe", "4bit"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as GGUF."""
    return tiny.write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", "llama")


@pytest.fixture(autouse=True)
def to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked here are folders and lines, not weights; tests/quantize has the real default."""
    monkeypatch.setattr(recipes, "DEFAULT", FOUR[1])


def failed(argv: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Runs a command that must fail with `code`; returns its one line."""
    assert cli.main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hardcast: ")
    assert captured.err.count("\n") == 1
    return captured.err


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_build_gives_a_verified_image_and_its_figures(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny.image"
    assert cli.main(["build", str(model), "-o", str(out), "--context", "64", "--json"]) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    image = open_image(out)
    image.verify()
    assert captured.err == ""
    assert values["path"] == str(out)
    assert values["digest"] == image.digest
    assert values["parameters"] == image.parameters
    assert values["rom_bits"] == image.rom_bits
    assert values["bits_per_weight"] == image.rom_bits / image.parameters
    assert values["seconds"] > 0
    assert image.context == 64
    assert leftovers(tmp_path) == ["tiny.image"]


def test_notes_are_told_at_once_and_in_the_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that nobody knows, and matrices that a recipe's groups do not divide."""
    folder = tiny.write_safetensors(tmp_path / "m", "llama", warp_factor=9)
    recipe = tmp_path / "wide.toml"
    recipe.write_text('[default]\nkind = "symmetric"\nbits = 4\ngroup_size = 128\n')
    argv = ["build", str(folder), "-o", str(tmp_path / "i"), "--recipe", str(recipe)]
    assert cli.main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    notes = json.loads(captured.out)["notes"]
    assert captured.err == "".join(f"note: {note}\n" for note in notes)
    assert len(notes) == 2 and "warp_factor" in notes[0] and "one scale a row" in notes[1]
    assert cli.main([*argv, "--force"]) == 0
    assert capsys.readouterr().err == captured.err


def test_the_same_model_gives_the_same_digest(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = []
    for name in ("a", "b"):
        assert cli.main(["build", str(model), "-o", str(tmp_path / name), "--json"]) == 0
        digests.append(json.loads(capsys.readouterr().out)["digest"])
    assert digests[0] == digests[1]


def test_text_for_people_names_the_digest(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", str(model), "-o", str(tmp_path / "i")]) == 0
    assert open_image(tmp_path / "i").digest in capsys.readouterr().out


@pytest.mark.parametrize("stop_after", flow.PASSES[:-1])
def test_stop_after_a_pass_writes_nothing(
    stop_after: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["build", str(model), "-o", str(tmp_path / "i"), "--stop-after", stop_after, "--json"]
    assert cli.main(argv) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["path"], values["digest"]) == (None, None)
    assert values["stopped_after"] == stop_after
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--recipe", "1bit"], "4bit"),
        (["--context", "0"], "--context"),
        (["--context", "1000000"], "context 1000000"),
        (["--activation-bits", "7"], "8 to 15"),
        (["--activation-bits", "16"], "8 to 15"),
        (["--stop-after", "lunch"], flow.PASSES[0]),
    ],
)
def test_bad_options(
    options: list[str],
    says: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert says in failed(["build", str(model), "-o", str(tmp_path / "i"), *options], capsys)
    assert leftovers(tmp_path) == []


def test_no_such_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failed(["build", str(tmp_path / "none.gguf"), "-o", str(tmp_path / "i")], capsys)
    assert "none.gguf" in line
    assert leftovers(tmp_path) == []


def test_a_truncated_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tiny.write_gguf(tmp_path / "whole.gguf", "llama", quant="Q4_1")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole.read_bytes()[:-1000])
    assert "broken.gguf" in failed(["build", str(broken), "-o", str(tmp_path / "i")], capsys)
    assert leftovers(tmp_path) == ["broken.gguf", "whole.gguf"]


def test_an_image_is_replaced_only_with_force(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "i"
    assert cli.main(["build", str(model), "-o", str(out)]) == 0
    first = open_image(out).digest
    capsys.readouterr()
    assert "--force" in failed(["build", str(model), "-o", str(out), "--context", "32"], capsys)
    assert open_image(out).digest == first
    assert cli.main(["build", str(model), "-o", str(out), "--context", "32", "--force"]) == 0
    assert open_image(out).context == 32
    assert leftovers(tmp_path) == ["i"]


def test_what_is_no_image_is_never_replaced(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "thesis" / "chapter1.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    for out in (precious.parent, precious):
        failed(["build", str(model), "-o", str(out), "--force"], capsys)
    assert precious.read_text() == "years of work"
    assert leftovers(tmp_path) == ["thesis"]


def test_output_below_a_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in failed(["build", str(model), "-o", str(tmp_path / "file" / "i")], capsys)
    assert leftovers(tmp_path) == ["file"]


def test_output_folder_that_may_not_be_written(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The refusal is raised by hand: root, which tests may run as, is refused nothing."""

    def refuse(path: Any, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    line = failed(["build", str(model), "-o", str(tmp_path / "i")], capsys)
    assert os.strerror(errno.EACCES) in line
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_full_disk_at_the_last_moment(
    calls: int,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file system may first notice at fsync that it has no room: each of the three files'."""
    real, seen = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen > calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    line = failed(["build", str(model), "-o", str(tmp_path / "i")], capsys)
    assert os.strerror(errno.ENOSPC) in line
    assert seen == calls + 1
    assert leftovers(tmp_path) == []


def test_writing_fails_in_the_middle(model: Path, tmp_path: Path) -> None:
    """A real failure of the kernel: no file may grow beyond 100 kB, rom.bin would."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    ended = subprocess.run(
        [
            sys.executable,
            "-B",
            "-m",
            "hardcast",
            "build",
            str(model),
            "-o",
            str(tmp_path / "i"),
            *FOUR,
        ],
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert os.strerror(errno.EFBIG) in ended.stderr
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("when", [1, 7, 20])
def test_ctrl_c_between_steps(
    when: int,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = 0

    def interrupt(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == when:
            raise KeyboardInterrupt

    monkeypatch.setattr(Bars, "__call__", interrupt)
    failed(["build", str(model), "-o", str(tmp_path / "i")], capsys, code=130)
    assert leftovers(tmp_path) == []


def test_ctrl_c_while_the_old_image_makes_room(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Between the two renames of --force neither image has the name: the old one must get it."""
    out = tmp_path / "i"
    assert cli.main(["build", str(model), "-o", str(out)]) == 0
    capsys.readouterr()
    first = open_image(out).digest
    real, seen = os.rename, 0

    def interrupt(source: Any, target: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "rename", interrupt)
    argv = ["build", str(model), "-o", str(out), "--context", "32", "--force"]
    failed(argv, capsys, code=130)
    assert open_image(out).digest == first
    assert leftovers(tmp_path) == ["i"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_in_the_middle_of_a_build(sent: signal.Signals, tmp_path: Path) -> None:
    """A model of many layers, so that the signal arrives while weights are being written."""
    model = tiny.write_gguf(tmp_path / "m" / "long.gguf", "llama", num_hidden_layers=60)
    folder = tmp_path / "out"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "hardcast", "build", str(model), "-o", str(folder / "i"), *FOUR],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a script inherits SIGINT ignored, and so would the build.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and not any(folder.rglob("rom.bin")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert out == ""
    if sent == signal.SIGINT:
        assert (process.returncode, err) == (130, "hardcast: interrupted\n")
    else:
        assert (process.returncode, err) == (143, "")
    assert leftovers(folder) == []


def test_inspect_tells_what_build_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "i")
    assert cli.main(["build", str(model), "-o", out, "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert cli.main(["inspect", out, "--verify", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    for key in ("digest", "parameters", "rom_bits", "bits_per_weight"):
        assert seen[key] == built[key]
    assert seen["verified"] is True
    assert seen["recipe"] == "4bit"
    assert seen["config"]["hidden_size"] == tiny.config("llama")["hidden_size"]
    assert seen["config"]["architecture"] == "llama"
    assert "layers.1.down_proj" in seen["matrices"]
    assert seen["widths"]


def test_inspect_lists_matrices_and_steps(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "i")
    assert cli.main(["build", str(model), "-o", out]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", out]) == 0
    assert "layers.*.q_proj" in capsys.readouterr().out
    assert cli.main(["inspect", out, "--all", "--steps"]) == 0
    text = capsys.readouterr().out
    assert "layers.1.q_proj" in text and "GateMul" in text and "layers.*" not in text


@pytest.mark.parametrize("damage", ["flip", "truncate", "edit", "empty"])
def test_inspect_refuses_a_damaged_image(
    damage: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "i"
    assert cli.main(["build", str(model), "-o", str(out)]) == 0
    capsys.readouterr()
    rom, manifest = out / "rom.bin", out / MANIFEST
    match damage:
        case "flip":
            content = bytearray(rom.read_bytes())
            content[len(content) // 2] ^= 1
            rom.write_bytes(content)
        case "truncate":
            os.truncate(rom, rom.stat().st_size - 1)
        case "edit":
            manifest.write_text(manifest.read_text().replace('"context": ', '"context": 1'))
        case "empty":
            shutil.rmtree(out)
            out.mkdir()
    line = failed(["inspect", str(out), "--verify"], capsys)
    assert str(out) in line


def test_an_image_below_a_file_is_refused_before_the_model_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert cli.main(["build", "no such model", "-o", str(tmp_path / "file" / "y")]) == 2
    assert "is no folder; name a path below one" in capsys.readouterr().err
