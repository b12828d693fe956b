"""The header of a safetensors file: taken or refused as the safetensors package does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.safetensors_header import read_header
from hardcast.errors import HardcastError
from tests import tiny


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_the_data_are_covered_once_as_safetensors_wants_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Ranges that touch, overlap, leave gaps, run backwards or past the end, in any order."""
    from safetensors import SafetensorError, safe_open

    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    begin, ranges = 0, []
    for size in sizes:
        ranges.append((begin, begin + size))
        begin += size
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(ranges) - 1))
        by, grown = data.draw(st.integers(-1, 1)), data.draw(st.integers(-1, 1))
        first, last = ranges[place]
        ranges[place] = (max(first + by, 0), max(last + by + grown, 0))
    header = {
        f"{name}": {
            "dtype": "F16",
            "shape": [max(last - first, 0)],
            "data_offsets": [2 * first, 2 * last],
        }
        for name, (first, last) in data.draw(st.permutations(list(enumerate(ranges))))
    }
    text = json.dumps(header).encode()
    rest = bytes(max(2 * begin + data.draw(st.sampled_from([0, 0, 0, 0, 2, 1, -1])), 0))
    path = tmp_path_factory.mktemp("ranges") / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    try:
        with safe_open(path, framework="numpy") as file:
            wanted = set(file.keys())
    except SafetensorError:
        with pytest.raises(HardcastError):
            read_header(path)
    else:
        assert set(read_header(path)) == wanted


def test_two_tensors_on_the_same_bytes_are_refused(tmp_path: Path) -> None:
    """Their shapes agree: the chip would have one matrix twice, and another not at all."""
    tiny.write_safetensors(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    gate, up = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up"))
    header[up]["data_offsets"] = header[gate]["data_offsets"]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
    with pytest.raises(HardcastError, match=f"within tensor '{gate}'"):
        open_checkpoint(tmp_path)
