"""Recipes: the packaged ones, files of a user's own, and what a search may choose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.checkpoint import open_checkpoint
from hardcast.errors import HardcastError
from hardcast.models import build_program
from hardcast.quantize import recipe as recipes
from hardcast.quantize import sensitivity
from hardcast.quantize.code import Code
from hardcast.quantize.folding import Rotated
from hardcast.quantize.recipe import Recipe
from hardcast.quantize.sensitivity import allocate
from tests import tiny

SHAPES = {
    "embed_tokens": (300, 128),
    "layers.0.q_proj": (64, 128),
    "layers.0.down_proj": (128, 192),
}


# The packaged ones


def test_the_packaged_recipes() -> None:
    known = ["3/6", "3bit", "4/8", "4bit", "4gptq", "4keep", "auto", "file", "ternary"]
    assert recipes.names() == known
    assert recipes.DEFAULT in recipes.names()
    for name in recipes.names():
        recipe = recipes.get(name)
        assert (
            recipe.name == name
            and 20 < len(recipe.summary) < 100
            and recipe.rounding in recipes.ROUNDINGS
        )
        assert set(recipe.roles) <= set(recipes.ROLES) and not recipe.matrices
        assert (recipe.wide is not None) == (name == "auto")


@pytest.mark.parametrize(
    ("name", "role", "form"),
    [
        ("3bit", "up_proj", ("codebook", 3, 1, 32)),
        ("3bit", "v_proj", ("codebook", 3, 1, 32)),
        ("3bit", "lm_head", ("symmetric", 3, 2, 64)),
        ("3/6", "o_proj", ("symmetric", 3, 2, 64)),
        ("3/6", "up_proj", ("codebook", 3, 1, 32)),
        ("3/6", "v_proj", ("symmetric", 3, 2, 64)),
        ("3/6", "down_proj", ("symmetric", 3, 2, 64)),
        ("3/6", "embed_tokens", ("symmetric", 3, 2, 64)),
        ("4/8", "up_proj", ("codebook", 4, 1, 64)),
        ("4/8", "k_proj", ("symmetric", 4, 2, 64)),
        ("4gptq", "down_proj", ("codebook", 4, 1, 64)),
        ("4gptq", "lm_head", ("symmetric", 4, 2, 64)),
        ("4bit", "k_proj", ("asymmetric", 4, 1, 32)),
        ("4bit", "embed_tokens", ("symmetric", 4, 2, 32)),
        ("auto", "k_proj", ("codebook", 3, 1, 32)),
        ("ternary", "k_proj", ("codebook", 2, 1, 64)),
    ],
)
def test_the_code_of_a_role(name: str, role: str, form: tuple[str, int, int, int]) -> None:
    recipe = recipes.get(name)
    matrix = role if role in ("embed_tokens", "lm_head") else f"layers.17.{role}"
    code = recipe.code(matrix)
    assert (code.kind, code.bits, code.planes, code.group_size) == form
    assert recipe.rom_bits({matrix: (10, 128)}) == code.rom_bits((10, 128))
    assert code.kind != "codebook" or name == "ternary" or len(code.codebook) == 1 << code.bits


def test_an_unknown_recipe_is_told_the_known_ones() -> None:
    with pytest.raises(HardcastError) as caught:
        recipes.get("2bit")
    assert all(name in str(caught.value) for name in recipes.names())


# A file of one's own

OWN = """
summary = "my own"
rotate = true
rounding = "gptq"
[default]
kind = "codebook"
bits = 3
codebook = [-3, -1, 0, 2]
[wide]
kind = "symmetric"
bits = 3
planes = 2
[roles.down_proj]
kind = "asymmetric"
bits = 4
group_size = 0
[matrices."layers.1.down_proj"]
kind = "symmetric"
bits = 2
planes = 2
group_size = 96
"""


def test_a_file_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    recipe = recipes.get(str(path))
    assert (recipe.name, recipe.summary, recipe.rotate, recipe.rounding) == (
        "own",
        "my own",
        True,
        "gptq",
    )
    assert not recipe.import_grids
    assert recipe.code("layers.0.q_proj") == Code("codebook", 3, codebook=(-3, -1, 0, 2))
    assert recipe.code("layers.0.down_proj") == Code("asymmetric", 4, group_size=0)
    assert recipe.code("layers.1.down_proj") == Code("symmetric", 2, planes=2, group_size=96)
    assert recipe.wider("layers.0.q_proj") == Code("symmetric", 3, planes=2)
    for fixed in ("layers.0.down_proj", "layers.1.down_proj"):
        assert recipe.wider(fixed) == recipe.code(fixed)


MINIMAL = '[default]\nkind = "symmetric"\nbits = 4\n'


def test_the_least_that_a_file_must_say() -> None:
    recipe = recipes.parse("least", MINIMAL)
    assert recipe.default == Code("symmetric", 4)
    assert (recipe.rotate, recipe.rounding, recipe.import_grids) == (False, "nearest", False)
    assert recipe.wide is None and recipe.wider("lm_head") == recipe.default


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("", "[default]"),
    "no toml": ("default = = 3", "not valid TOML"),
    "unclosed": ('[default]\nkind = "symm', "not valid TOML"),
    "twice": (MINIMAL + "[default]\nbits = 3\n", "not valid TOML"),
    "deep": ("a = " + "[\n" * 100_000, "not valid TOML"),
    "many digits": ("a = " + "9" * 5000, "a line of more than 1000 characters: not a recipe"),
    "nul": (MINIMAL + "a = 1\0", "not valid TOML"),
    "unknown key": ("colour = 1\n" + MINIMAL, "unknown key 'colour'"),
    "unknown table": (MINIMAL + "[extra]\nbits = 3\n", "unknown key 'extra'"),
    "key of two lines": ('"a\\nb" = 1\n' + MINIMAL, "unknown key 'a\\nb'"),
    "default a number": ("default = 4", "[default]"),
    "default a list": ('[[default]]\nkind = "symmetric"\nbits = 4\n', "[default]"),
    "no kind": ("[default]\nbits = 4\n", "[default] lacks kind"),
    "no bits": ('[default]\nkind = "symmetric"\n', "[default] lacks bits"),
    "unknown kind": ('[default]\nkind = "log"\nbits = 4\n', "[default] code 'log' is not known"),
    "kind a number": ("[default]\nkind = 3\nbits = 4\n", "[default] kind is 3, expected str"),
    "bits a string": (MINIMAL.replace("4", '"4"'), "[default] bits is '4', expected int"),
    "bits a float": (MINIMAL.replace("4", "4.0"), "[default] bits is 4.0, expected int"),
    "bits a flag": (MINIMAL.replace("4", "true"), "[default] bits is True, expected int"),
    "bits a date": (MINIMAL.replace("4", "1979-05-27"), "[default] bits is datetime.date"),
    "five bits": (MINIMAL.replace("4", "5"), "[default] 1 planes of 5 bits"),
    "extra key": (MINIMAL + "scale = 3\n", "[default] has no 'scale'"),
    "odd groups": (MINIMAL + "group_size = 33\n", "[default] group_size 33"),
    "own codebook": (MINIMAL + "codebook = [-1, 1]\n", "[default] symmetric codes have no"),
    "codebook of strings": (MINIMAL + 'codebook = ["a"]\n', "[default] codebook holds something"),
    "codebook of flags": (MINIMAL + "codebook = [true]\n", "[default] codebook holds something"),
    "codebook a number": (MINIMAL + "codebook = 3\n", "[default] codebook is 3, expected list"),
    "rotate a number": ("rotate = 1\n" + MINIMAL, "rotate is 1, expected true or false"),
    "import a string": ('import_grids = "no"\n' + MINIMAL, "import_grids is 'no'"),
    "unknown rounding": ('rounding = "up"\n' + MINIMAL, "rounding 'up', expected nearest or gptq"),
    "rounding a list": ("rounding = [1]\n" + MINIMAL, "rounding [1], expected"),
    "roles a number": ("roles = 1\n" + MINIMAL, "roles is no table"),
    "role a number": (MINIMAL + "[roles]\nq_proj = 3\n", "roles.q_proj is no table"),
    "unknown role": (MINIMAL + "[roles.z_proj]\nbits = 3\n", "roles: 'z_proj' is no role"),
    "bad role": (MINIMAL + "[roles.q_proj]\nbits = 3\n", "[roles.q_proj] lacks kind"),
    "matrices a list": ("matrices = []\n" + MINIMAL, "matrices is no table"),
    "matrix unquoted": (
        MINIMAL + '[matrices.layers.3.q_proj]\nkind = "symmetric"\nbits = 4\n',
        "[matrices.'layers'] has no '3'",
    ),
    "wide a number": ("wide = 2\n" + MINIMAL, "wide is no table"),
    "wide nearest": (
        MINIMAL + '[wide]\nkind = "symmetric"\nbits = 4\n',
        "[wide] is chosen by calibration: it needs rounding gptq",
    ),
    "bad wide": (MINIMAL + "[wide]\nbits = 3\n", "[wide] lacks kind"),
    "grids rotated": ("import_grids = true\nrotate = true\n" + MINIMAL, "import_grids keeps"),
    "grids searched": (
        'import_grids = true\nrounding = "gptq"\n'
        + MINIMAL
        + '[wide]\nkind = "symmetric"\nbits = 4\n',
        "[wide] is measured without grids: no import_grids",
    ),
    "other of no name": ('no_grids = "5bit"\n' + MINIMAL, "no_grids is '5bit', expected one of"),
    "other a number": ("nothing_to_round = 4\n" + MINIMAL, "nothing_to_round is 4, expected one"),
    "other without need": (
        'import_grids = true\nno_grids = "4bit"\n' + MINIMAL,
        "no_grids needs import_grids true and rounding gptq",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_a_line(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HardcastError) as caught:
        recipes.get(str(path))
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and message in line
    assert "\n" not in line and len(line) < len(str(path)) + 250


HEX = "0x" + "f" * 20_000  # more digits than Python prints
HOSTILE = {
    "role of two lines": MINIMAL + '[roles."q\\nproj"]\nbits = 3\n',
    "matrix of two lines": MINIMAL + '[matrices."q\\nproj"]\nbits = 3\n',
    "matrix of two lines that is none": MINIMAL + '[matrices]\n"q\\nproj" = 3\n',
    "summary a list": "summary = [1]\n" + MINIMAL,
    "summary endless": f"summary = {HEX}\n" + MINIMAL,
    "rounding endless": f"rounding = {HEX}\n" + MINIMAL,
    "rotate endless": f"rotate = {HEX}\n" + MINIMAL,
    "bits endless": MINIMAL.replace("4", HEX),
    "group endless": MINIMAL + f"group_size = {HEX}\n",
    "codebook endless": MINIMAL.replace("symmetric", "codebook") + f"codebook = [-1, {HEX}]\n",
    "kind endless": f"[default]\nkind = {HEX}\nbits = 4\n",
    "many levels": MINIMAL.replace("symmetric", "codebook") + f"codebook = {list(range(9999))}\n",
    "long kind": f'[default]\nkind = "{"k" * 9999}"\nbits = 4\n',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_a_line(case: str) -> None:
    with pytest.raises(HardcastError) as caught:
        recipes.parse("hostile", HOSTILE[case])
    line = str(caught.value)
    assert line.startswith("recipe hostile: ")
    assert "\n" not in line and len(line) < 300


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    for content, message in (
        (b"\xff\xfe", "not UTF-8: not a recipe"),
        (b"#" * (recipes.FILE_LIMIT + 1), "larger than 1 MiB: not a recipe"),
        (None, "No such file"),
    ):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(HardcastError) as caught:
            recipes.get(str(path))
        assert str(caught.value).startswith(f"{path}: {message}")
    path.mkdir()
    with pytest.raises(HardcastError, match="r.toml: a folder, where a file is expected"):
        recipes.get(str(path))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_line(text: str) -> None:
    try:
        recipes.parse("any", MINIMAL + text)
    except HardcastError as error:
        assert "\n" not in str(error)


# The search


def searching(fixed: tuple[str, ...] = ()) -> Recipe:
    recipe = recipes.get("auto")
    return replace(recipe, roles={role: Code("symmetric", 4) for role in fixed})


def bits_of(recipe: Recipe) -> float:
    weights = sum(rows * columns for rows, columns in SHAPES.values())
    return recipe.rom_bits(SHAPES) / weights


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 10), min_size=3, max_size=3),
    st.floats(3.5, 8),
    st.sampled_from([(), ("q_proj",), ("embed_tokens", "down_proj")]),
)
def test_a_budget_is_used_and_kept(found: list[float], bits: float, fixed: tuple[str, ...]) -> None:
    recipe = searching(fixed)
    sensitivities = dict(zip(SHAPES, found, strict=True))
    if bits < bits_of(recipe):
        with pytest.raises(HardcastError, match="--bits .* is too little: one plane .* is "):
            allocate(sensitivities, SHAPES, recipe, bits)
        return
    chosen = allocate(sensitivities, SHAPES, recipe, bits)
    assert bits_of(recipe) <= bits_of(chosen) <= bits
    for name in SHAPES:
        wide = name in chosen.matrices
        assert chosen.code(name) == (recipe.wider(name) if wide else recipe.code(name))
        assert not (wide and name.rpartition(".")[2] in fixed)
        if not wide and recipe.wider(name) != recipe.code(name):  # no room was left for it
            assert bits_of(replace(chosen, matrices={**chosen.matrices, name: recipe.wide})) > bits
    assert chosen.fitted(SHAPES).notes() == []


def test_the_second_plane_goes_where_a_bit_buys_most() -> None:
    """q_proj costs the least bits: with a third of the KL it still comes before the embedding."""
    recipe = searching()
    found = {"embed_tokens": 0.3, "layers.0.q_proj": 0.1, "layers.0.down_proj": 0.01}
    order = []
    for bits in np.arange(3.5, 6.7, 0.01):
        order += [
            name for name in allocate(found, SHAPES, recipe, bits).matrices if name not in order
        ]
    per_bit = {name: found[name] / (SHAPES[name][0] * SHAPES[name][1]) for name in found}
    assert max(per_bit, key=per_bit.__getitem__) == "layers.0.q_proj" == order[0]
    assert set(order) == set(SHAPES)
    everything = allocate(found, SHAPES, recipe, 100)
    assert set(everything.matrices) == set(SHAPES)
    two = allocate({**found, "layers.0.down_proj": 9}, SHAPES, recipe, bits_of(recipe) + 1.2)
    assert "layers.0.down_proj" in two.matrices and "embed_tokens" not in two.matrices


@pytest.mark.parametrize("bits", [0, -1, 3, float("-inf"), float("nan")])
def test_too_few_bits_are_refused(bits: float) -> None:
    with pytest.raises(HardcastError, match="is too little: one plane everywhere is 3.42"):
        allocate(dict.fromkeys(SHAPES, 0.0), SHAPES, searching(), bits)


def test_what_a_matrix_costs_is_measured(tmp_path: Path) -> None:
    """Each matrix has its own KL, and one that is rounded more coarsely a larger one."""
    sizes = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 192}
    checkpoint = open_checkpoint(str(tiny.write_safetensors(tmp_path, "qwen3", **sizes)))
    source = Rotated(checkpoint, build_program(checkpoint.config))
    windows = np.random.default_rng(0).integers(0, 1009, (6, 60))
    updates: list[tuple[str, int, int | None]] = []

    def measured(recipe: Recipe) -> dict[str, float]:
        return sensitivity.measure(
            source, checkpoint.config, recipe, windows, 2, lambda *update: updates.append(update)
        )

    recipe = recipes.get("auto")
    found = measured(recipe)
    assert set(found) == set(source.program.matrices())
    assert updates[-1][1] == updates[-1][2] == len(found)
    assert min(found, key=found.__getitem__) == "head_rotation"  # 8 bits, as its role says
    found.pop("head_rotation")
    assert all(1e-4 < kl < 5 for kl in found.values())
    assert len(set(found.values())) == len(found)
    coarse = measured(replace(recipe, default=Code("codebook", 2, codebook=(-1, 0, 1))))
    assert all(coarse[name] > kl for name, kl in found.items())
