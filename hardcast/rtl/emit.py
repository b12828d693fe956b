"""From an image and a chip to a folder that any simulator or synthesizer takes.

sv/             the modules, hardcast_pkg.sv and hc_tables_pkg.sv written for this chip
rom/            contents of every ROM, hexadecimal words for $readmemh
files.f         sources in order, for any tool's -f
chip.json       parameters, digest, depths
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.chip.cycles import CycleModel
from hardcast.chip.geometry import Geometry
from hardcast.chip.parameters import BLOCK, Chip
from hardcast.chip.schedule import schedule
from hardcast.errors import HardcastError
from hardcast.files import check_above
from hardcast.image import Image
from hardcast.image.matrix import unpack_codes
from hardcast.program import step as kinds
from hardcast.rtl.assemble import Places, assemble
from hardcast.rtl.limits import check_norms, check_points
from hardcast.rtl.modules import modules
from hardcast.rtl.package import Contents, package
from hardcast.rtl.tables import tables_package
from hardcast.rtl.tiles import tile_words
from hardcast.rtl.words import fields, hex_of_bytes

TOP = "hc_top"
GENERATED = ("hardcast_pkg.sv", "hc_tables_pkg.sv")
CHUNK_ROWS = 1 << 12  # of the embedding, written at a time
OWN_POINTS = {"residual", "gain", "norm_extra", "qk", "rope", "score", "v", "a", "gate"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Design:
    """An image laid on a chip: what the RTL, its ROMs and the cycle model are made from.

    Raises HardcastError, in words, where the chip cannot hold the image.
    """

    image: Image
    geometry: Geometry
    model: CycleModel
    program: bytes
    places: Places
    contents: Contents
    codebooks: tuple[tuple[int, ...], ...]


def design(image: Image, chip: Chip) -> Design:
    """Lays `image` on `chip`. Raises HardcastError where that cannot be."""
    chip.check()
    shape = image.program.shape
    if chip.context > image.context:
        raise HardcastError(
            f"chip {chip.name} has KV memory for {chip.context} positions, but the image's RoPE "
            f"tables end at {image.context}; build it with a larger --context"
        )
    widest = max(entry["bits"] for entry in image.matrices.values())
    if widest > chip.bits:
        raise HardcastError(
            f"chip {chip.name} has {chip.bits}-bit lanes, the image {widest}-bit codes; "
            "choose a recipe or a chip of the other's width"
        )
    geometry = Geometry(chip, shape)
    check_points(image)
    check_norms(image)
    planes = {name: entry["planes"] for name, entry in image.matrices.items()}
    ops = schedule(image.program, planes)
    books, of_matrix = _codebooks(image, chip)
    program, places = assemble(image, geometry, ops, of_matrix)
    embedding = next(s.matrix for s in image.program.steps if isinstance(s, kinds.Embed))
    entry = image.matrices[embedding]
    sizes = [image.matrices[name]["group_size"] for name, _ in places.matrices]
    offsets = [image.has(f"{name}.offsets") for name, _ in places.matrices]
    normed = (kinds.Norm, kinds.HeadNorm)
    gains = [image.tensor(s.gain) for s in image.program.steps if isinstance(s, normed)]
    largest = max((int(np.abs(gain.astype(np.int64)).max()) for gain in gains), default=0)
    accumulators = [
        bits for name, bits in image.chip["widths"].items() if name.startswith("accumulator.")
    ]
    contents = Contents(
        depths={
            "tile": places.tile,
            "rows": places.rows,
            "bias": places.bias,
            "gain": places.gain,
            "program": len(ops),
        },
        codebooks=books,
        group=64 if all(size % 64 == 0 for size in sizes) else 32,
        asymmetric=any(offsets),
        wide=any(op.wide for op in ops),
        # Rounded up a little, so that models of one shape share one design.
        acc_bits=min(round_up(max([*accumulators, 48]), 4), 63),
        gain_bits=round_up(max(largest.bit_length() + 1, 16), 4),
        bias=places.bias > 0,
        head_norm=any(op.name == "HSUM" for op in ops),
        ropes=image.program.rope_tables(),
        blocked=any(op.name == "HSUM" for op in ops)
        and not (shape.head_dim <= BLOCK or shape.head_dim == 2 * BLOCK),
        behind=any(op.name == "BSUM" for op in ops),
        gate=image.program.gate_tables()[0],
        unturned=any(s.table is None for s in image.program.steps if isinstance(s, kinds.Rope)),
        embed_bits=entry["bits"] * entry["planes"],
        embed_planes=entry["planes"],
        embed_codebook=of_matrix[embedding][0],
        embed_group=64 if entry["group_size"] % 64 == 0 else 32,
        embed_offsets=image.has(f"{embedding}.offsets"),
        points=image.points,
    )
    return Design(image, geometry, CycleModel(geometry, ops), program, places, contents, books)


def round_up(value: int, multiple: int) -> int:
    """The next multiple, or the value itself."""
    return -(-value // multiple) * multiple


def _codebooks(
    image: Image, chip: Chip
) -> tuple[tuple[tuple[int, ...], ...], dict[str, tuple[int, int]]]:
    """The different codebooks, and each matrix's: of its (high) plane and of its low plane."""
    books: list[tuple[int, ...]] = []

    def index(book: tuple[int, ...]) -> int:
        if book not in books:
            books.append(book)
        return books.index(book)

    found = {}
    for name, entry in image.matrices.items():
        high = index(tuple(int(v) for v in entry["codebook"]))
        low = index(tuple(range(1 << entry["bits"]))) if entry["planes"] == 2 else high
        found[name] = (high, low)
    if len(books) > 16:
        raise HardcastError(f"chip {chip.name}: {len(books)} codebooks, its tiles know 16")
    return tuple(books), found


def emit(design: Design, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes the folder, aside and then in its place. Returns what chip.json holds.

    The same design gives the same bytes. Raises HardcastError for a folder that exists and is
    not an emitted one.
    """
    check_above(folder)
    if folder.exists() and not folder.is_dir():
        raise HardcastError(f"{folder} is a file; name a folder")
    if folder.exists() and not (folder / "chip.json").is_file() and any(folder.iterdir()):
        raise HardcastError(f"{folder} exists and is not an emitted chip; name another folder")
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "rom").mkdir(parents=True)
    try:
        sources = write_sources(design, aside / "sv")
        write_rom(design, aside / "rom", progress)
        chip = design.geometry.chip
        listing = "".join(f"sv/{name}\n" for name in sources)
        (aside / "files.f").write_text(listing)
        described = {
            "top": TOP,
            "digest": design.image.digest,
            "parameters": chip.to_json(),
            "files": [f"sv/{name}" for name in sources],
            "rom_words": dict(design.contents.depths),
        }
        (aside / "chip.json").write_text(json.dumps(described, indent=1) + "\n")
        for path in aside.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return described


def source_texts(design: Design) -> dict[str, str]:
    """Every .sv file by name, packages first."""
    packages = {
        "hc_tables_pkg.sv": tables_package(design.contents.gate),
        "hardcast_pkg.sv": package(design.geometry, design.contents),
    }
    return {**packages, **modules(design.contents.variants)}


def write_sources(design: Design, folder: Path) -> list[str]:
    """Writes every .sv file; returns their names in order."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = source_texts(design)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return list(texts)


def waivers(folder: Path) -> list[Path]:
    """Copies the lint waivers, each with its reason, beside the sources."""
    file = resources.files(__package__).joinpath("waivers.vlt")
    if not file.is_file():
        return []
    (folder / "waivers.vlt").write_text(file.read_text("utf-8"))
    return [folder / "waivers.vlt"]


def write_rom(design: Design, folder: Path, progress: Progress | None = None) -> None:
    """Writes the contents of every ROM."""
    (folder / "program.mem").write_bytes(design.program)
    digest = design.image.digest  # ID register i holds its hexadecimal digits 8 i to 8 i + 7
    (folder / "id.mem").write_text("".join(f"{digest[i : i + 8]}\n" for i in range(0, 64, 8)))
    _write_tiles(design, folder, progress)
    _write_rows(design, folder)
    _write_angles(design, folder)
    _write_embedding(design, folder)


def _positions(design: Design, dst: str, out_features: int) -> np.ndarray:
    """Where a matrix's rows go: heads in pairs of halves, others in order."""
    if dst in ("q", "k", "v"):
        return design.geometry.head_rows(out_features // design.geometry.shape.head_dim)
    return np.arange(out_features)


def _write_tiles(design: Design, folder: Path, progress: Progress | None) -> None:
    chip, contents = design.geometry.chip, design.contents
    width = 64 * chip.bits + (64 // contents.group) * (24 if contents.asymmetric else 8)
    files = {
        (row, column): (folder / f"tile_{row}_{column}.mem").open("wb")
        for row in range(chip.tile_rows)
        for column in range(chip.slices)
    }
    try:
        for done, ((name, dst), (_, _, words)) in enumerate(design.places.matrices.items()):
            if progress:
                progress("laying weights into tiles", done, len(design.places.matrices))
            matrix = design.image.matrix(name)
            places = _positions(design, dst, matrix.out_features)
            laid = tile_words(
                design.geometry, matrix, places, words, contents.group, contents.asymmetric
            )
            for (row, column), file in files.items():
                file.write(hex_of_bytes(laid[row, column], width))
    finally:
        for file in files.values():
            file.close()


def _write_rows(design: Design, folder: Path) -> None:
    """Row multipliers and shifts, biases, norm gains: a word is TR lanes."""
    lanes, image, geometry = design.geometry.chip.tile_rows, design.image, design.geometry
    row_words, bias_words = [], []
    for (name, dst), (_, _, words) in design.places.matrices.items():
        matrix = image.matrix(name)
        places = _positions(design, dst, matrix.out_features)
        depth = geometry.rounds(words) * geometry.chip.rows
        entries = np.zeros(depth * lanes, np.int64)
        shifts = matrix.row_shift.astype(np.int64) & 127
        entries[places] = matrix.row_multiplier.astype(np.int64) | shifts << 8
        row_words.append(entries.reshape(depth, lanes))
    for (name, dst), (_, words) in design.places.biases.items():
        values = image.tensor(name).astype(np.int64)
        depth = geometry.rounds(words) * geometry.chip.rows
        entries = np.zeros(depth * lanes, np.int64)
        entries[_positions(design, dst, len(values))] = values
        bias_words.append(entries.reshape(depth, lanes))
    (folder / "rows.mem").write_bytes(fields([(np.concatenate(row_words), 16)]))
    if bias_words:
        (folder / "bias.mem").write_bytes(fields([(np.concatenate(bias_words), 32)]))
    gains = []
    for name, of_head in design.places.gains:
        values = image.tensor(name).astype(np.int64)
        if of_head:  # as a head's channels lie, beside one another where a word holds several
            laid = np.zeros((geometry.head_words, lanes), np.int64)
            laid[:, : geometry.head_lanes] = values[np.argsort(geometry.channel_layout())].reshape(
                geometry.head_words, -1
            )
            for head in range(1, geometry.heads_a_pair):
                start = head * geometry.head_lanes
                laid[:, start : start + geometry.head_lanes] = laid[:, : geometry.head_lanes]
            gains.append(laid)
        else:
            gains.append(_lanes(values, lanes))
    bits = design.contents.gain_bits
    (folder / "gain.mem").write_bytes(fields([(np.concatenate(gains), bits)]))


def _lanes(values: np.ndarray, lanes: int) -> np.ndarray:
    """integers[n] -> integers[words, lanes], zeros at the end."""
    words = -(-len(values) // lanes)
    padded = np.zeros(words * lanes, values.dtype)
    padded[: len(values)] = values
    return padded.reshape(words, lanes)


def _write_angles(design: Design, folder: Path) -> None:
    """{sin, cos} of TR pairs a word; where a head has fewer pairs they repeat.

    A position's words of all tables lie beside one another.
    """
    geometry = design.geometry
    lanes, rows = geometry.chip.tile_rows, -(-geometry.chip.context // 128)
    for level, count in (("coarse", rows), ("fine", 128)):
        of_tables = [np.zeros((count, 0), np.int64)]
        for name in design.contents.ropes:
            table = design.image.tensor(f"{name}_{level}").astype(np.int64)[:count]
            entries = (table[:, :, 0] & 0xFFFF) | (table[:, :, 1] & 0xFFFF) << 16
            if geometry.half < lanes:
                entries = np.tile(entries, (1, lanes // geometry.half))
            of_tables.append(entries)
        if not design.contents.ropes:  # a ROM has a word
            of_tables.append(np.zeros((count, geometry.angle_words * lanes), np.int64))
        words = np.concatenate(of_tables, axis=1).reshape(-1, lanes)
        (folder / f"rope_{level}.mem").write_bytes(fields([(words, 32)]))


def _write_embedding(design: Design, folder: Path) -> None:
    image, geometry, contents = design.image, design.geometry, design.contents
    name = next(s.matrix for s in image.program.steps if isinstance(s, kinds.Embed))
    lanes, group = geometry.chip.tile_rows, contents.embed_group
    matrix = image.matrix(name)
    words = geometry.words(matrix.in_features)
    per_word = max(lanes // group, 1)
    stored = -(-matrix.in_features // max(group, lanes))
    with (folder / "embed_codes.mem").open("wb") as codes_file:
        for codes in _embedding_codes(matrix):
            padded = np.zeros((len(codes), words * lanes), np.uint8)
            padded[:, : matrix.in_features] = codes
            codes_file.write(fields([(padded.reshape(-1, lanes), contents.embed_bits)]))
    with (folder / "embed_scales.mem").open("wb") as scales_file:
        index = np.arange(stored * per_word) * group // matrix.group_size
        inside = index < matrix.scales.shape[1]
        for first in range(0, matrix.out_features, CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            scales = np.zeros((len(matrix.scales[rows]), len(index)), np.int64)
            scales[:, inside] = matrix.scales[rows][:, index[inside]]
            entry = scales[:, :, None]
            width = 8
            if matrix.offsets is not None:
                offsets = np.zeros_like(scales)
                offsets[:, inside] = matrix.offsets[rows][:, index[inside]]
                entry, width = scales[:, :, None] | (offsets[:, :, None] & 0xFFFF) << 8, 24
            scales_file.write(fields([(entry.reshape(-1, per_word), width)]))
    shifts = matrix.row_shift.astype(np.int64) & 127
    rows_word = (matrix.row_multiplier.astype(np.int64) | shifts << 8)[:, None]
    (folder / "embed_rows.mem").write_bytes(fields([(rows_word, 16)]))


def _embedding_codes(matrix: Any) -> Iterator[np.ndarray]:
    """uint8[rows, in_features] in pieces: the high plane's code above the low one's."""
    for first in range(0, matrix.out_features, CHUNK_ROWS):
        part = matrix.select(slice(first, first + CHUNK_ROWS))
        planes = [unpack_codes(plane, part.bits, part.in_features) for plane in part.codes]
        yield planes[0] if len(planes) == 1 else planes[0] << part.bits | planes[1]
