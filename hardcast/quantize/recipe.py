"""What becomes of each matrix, by its role. A recipe is a TOML file: a new one is a new file.

summary = "one line for people"
rotate = true               # rotation of the residual stream and of the value heads
rounding = "gptq"           # calibrated, or "nearest": each weight by itself
import_grids = false        # keep a stored grid of integers where the code has as many bits
nothing_to_round = "4bit"   # a recipe that does both: the one to take where all is kept so,
no_grids = "4gptq"          # and where nothing is

[default]                   # the code of every matrix ...
kind = "codebook"           # symmetric, asymmetric, codebook
bits = 3                    # of one plane
planes = 1
group_size = 64             # inputs that share a scale; 0, or one that divides no row: the row
codebook = [-8, -5, -3, -1, 1, 3, 5, 8]

[wide]                      # what `--bits` may give instead where it helps most: a search
kind = "symmetric"
bits = 3
planes = 2

[roles.down_proj]           # ... but of this role: replaces the whole default
kind = "symmetric"
bits = 3
planes = 2

[matrices."layers.11.up_proj"]   # ... but of this one
kind = "symmetric"
bits = 3
planes = 2
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.files import check_file
from hardcast.quantize.code import Code

ROLES = (
    "embed_tokens",
    "lm_head",
    "head_rotation",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
DEFAULT = "4keep"
GPTQ = "gptq"
ROUNDINGS = ("nearest", GPTQ)
_TOP = {"summary", "rotate", "rounding", "import_grids", "default", "wide", "roles", "matrices"}
_OTHERS = ("nothing_to_round", "no_grids")
_CODE = {"kind": str, "bits": int, "planes": int, "group_size": int, "codebook": list}
FILE_LIMIT = 1 << 20
LINE_LIMIT = 1000  # so that no integer is too long to be printed in an error


@dataclass(frozen=True)
class Recipe:
    """name: as given to --recipe. The rest as in the file above; "" for a recipe not named there.

    wide: the code that a search gives to the matrices that deserve it, the others keep theirs.
    columns: in_features of a model's matrices, once `fitted` to it: where a group does not divide
    them, the code is that with one scale a row.
    """

    name: str
    summary: str
    default: Code
    roles: Mapping[str, Code] = field(default_factory=dict)
    matrices: Mapping[str, Code] = field(default_factory=dict)
    wide: Code | None = None
    rotate: bool = False
    rounding: str = "nearest"
    import_grids: bool = False
    nothing_to_round: str = ""
    no_grids: str = ""
    columns: Mapping[str, int] = field(default_factory=dict)

    def code(self, matrix: str) -> Code:
        """The code of a matrix of the image ("layers.3.q_proj")."""
        code = self._written(matrix)
        return replace(code, group_size=0) if self._odd(matrix, code) else code

    def wider(self, matrix: str) -> Code:
        """What a search may give to a matrix; its own code if that is fixed by the recipe."""
        role = matrix.rpartition(".")[2]
        if self.wide is None or matrix in self.matrices or role in self.roles:
            return self.code(matrix)
        return replace(self.wide, group_size=0) if self._odd(matrix, self.wide) else self.wide

    def _written(self, matrix: str) -> Code:
        role = matrix.rpartition(".")[2]
        return self.matrices.get(matrix) or self.roles.get(role) or self.default

    def _odd(self, matrix: str, code: Code) -> bool:
        """Whether the code's groups do not divide the matrix, as far as that is known."""
        return bool(code.group_size and self.columns.get(matrix, 0) % code.group_size)

    def rom_bits(self, shapes: Mapping[str, tuple[int, int]]) -> int:
        """Mask ROM bits of a model whose matrices have these shapes, before any is made."""
        return sum(self.code(name).rom_bits(shape) for name, shape in shapes.items())

    def fitted(self, shapes: Mapping[str, tuple[int, int]]) -> Recipe:
        """The recipe for a model: one scale a row for a matrix that its groups do not divide.

        shapes: every matrix of the model, (out_features, in_features). A recipe that imports
        grids stays as it is: a stored grid is what it is, and the last group of a row may be short.
        Raises HardcastError naming a matrix that the recipe names but the model lacks.
        """
        for name in self.matrices:
            if name not in shapes:
                raise HardcastError(f"recipe {self.name}: the model has no matrix {name!r:.80}")
        if self.import_grids:
            return self
        return replace(self, columns={name: columns for name, (_, columns) in shapes.items()})

    def notes(self) -> list[str]:
        """Once fitted, and searched: which matrices have one scale a row, a line a group size.

        Matrices of all layers are named once, by their role.
        """
        found: dict[int, dict[str, int]] = {}
        for matrix, columns in self.columns.items():
            code = self._written(matrix)
            if self._odd(matrix, code):
                found.setdefault(code.group_size, {})[matrix.rpartition(".")[2]] = columns
        return [
            f"recipe {self.name}: groups of {size} do not divide these, which get one scale a row: "
            + ", ".join(f"{role} ({columns} inputs)" for role, columns in roles.items())
            for size, roles in sorted(found.items())
        ]


def names() -> list[str]:
    """The packaged recipes."""
    found = [file.name for file in resources.files(__package__).joinpath("recipes").iterdir()]
    return sorted(name[:-5].replace("-", "/") for name in found if name.endswith(".toml"))


def get(name: str) -> Recipe:
    """A packaged recipe by name, or a TOML file by its path.

    Raises HardcastError listing the recipes there are, or saying what is wrong with the file.
    """
    if name in names():
        file = resources.files(__package__).joinpath("recipes", name.replace("/", "-") + ".toml")
        return parse(name, file.read_text("utf-8"))
    if not name.endswith(".toml"):
        raise HardcastError(
            f"recipe {name!r} is not known; there are: {', '.join(names())}, or a .toml file"
        )
    path = Path(name)
    check_file(path)
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise HardcastError(f"{name}: larger than 1 MiB: not a recipe")
        text = path.read_text("utf-8")
    except OSError as error:
        raise HardcastError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HardcastError(f"{name}: not UTF-8: not a recipe") from None
    return parse(path.stem, text, name)


def parse(name: str, text: str, source: str | None = None) -> Recipe:
    """A recipe from TOML text. source: what errors call it (default: recipe `name`)."""
    where = source or f"recipe {name}"
    if any(len(line) > LINE_LIMIT for line in text.splitlines()):
        raise HardcastError(f"{where}: a line of more than {LINE_LIMIT} characters: not a recipe")
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an int too long for Python is a ValueError
        raise HardcastError(f"{where}: not valid TOML ({error!s:.120})") from None
    unknown = sorted(set(data) - _TOP - set(_OTHERS))
    if unknown:
        known = ", ".join(sorted([*_TOP, *_OTHERS]))
        raise HardcastError(f"{where}: unknown key {unknown[0]!r:.60}; there are: {known}")
    if not isinstance(data.get("default"), dict):
        raise HardcastError(f"{where}: a table [default] with kind and bits is missing")
    roles, matrices = _table(where, data, "roles"), _table(where, data, "matrices")
    for role in roles:
        if role not in ROLES:
            raise HardcastError(
                f"{where}: roles: {role!r:.60} is no role; there are: {', '.join(ROLES)}"
            )
    summary, rounding = data.get("summary", ""), data.get("rounding", "nearest")
    if not isinstance(summary, str):
        raise HardcastError(f"{where}: summary is {summary!r:.60}, expected a string")
    if rounding not in ROUNDINGS:
        raise HardcastError(f"{where}: rounding {rounding!r:.60}, expected nearest or gptq")
    recipe = Recipe(
        name,
        summary,
        _code(where, "default", data["default"]),
        {role: _code(where, f"roles.{role}", entry) for role, entry in roles.items()},
        {name: _code(where, f"matrices.{name!r}", entry) for name, entry in matrices.items()},
        _code(where, "wide", data["wide"]) if "wide" in data else None,
        _flag(where, data, "rotate"),
        rounding,
        _flag(where, data, "import_grids"),
        _other(where, data, "nothing_to_round"),
        _other(where, data, "no_grids"),
    )
    if recipe.import_grids and recipe.rotate:
        raise HardcastError(
            f"{where}: import_grids keeps the stored codes, so rotate cannot change them"
        )
    if recipe.import_grids and recipe.wide is not None:
        raise HardcastError(f"{where}: [wide] is measured without grids: no import_grids")
    if recipe.wide is not None and rounding != GPTQ:
        raise HardcastError(f"{where}: [wide] is chosen by calibration: it needs rounding gptq")
    return recipe


def _table(where: str, data: dict[str, Any], key: str) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise HardcastError(f"{where}: {key} is no table")
    return table


def _flag(where: str, data: dict[str, Any], key: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise HardcastError(f"{where}: {key} is {value!r:.60}, expected true or false")
    return value


def _other(where: str, data: dict[str, Any], key: str) -> str:
    """The packaged recipe that stands for this one where there is nothing, or all, to round."""
    value = data.get(key, "")
    if key in data and value not in names():
        raise HardcastError(
            f"{where}: {key} is {value!r:.60}, expected one of {', '.join(names())}"
        )
    if value and not (data.get("import_grids") and data.get("rounding") == GPTQ):
        raise HardcastError(f"{where}: {key} needs import_grids true and rounding gptq")
    return str(value)


def _code(where: str, table: str, entry: Any) -> Code:
    if not isinstance(entry, dict):
        raise HardcastError(f"{where}: {table:.60} is no table")
    for key, value in entry.items():
        if key not in _CODE:
            known = ", ".join(_CODE)
            raise HardcastError(f"{where}: [{table:.60}] has no {key!r:.60}; there are: {known}")
        if type(value) is not _CODE[key]:
            raise HardcastError(
                f"{where}: [{table:.60}] {key} is {value!r:.60}, expected {_CODE[key].__name__}"
            )
    for key in ("kind", "bits"):
        if key not in entry:
            raise HardcastError(f"{where}: [{table:.60}] lacks {key}")
    fields = dict(entry)
    book = fields.pop("codebook", [])
    if not all(type(value) is int for value in book):
        raise HardcastError(f"{where}: [{table:.60}] codebook holds something else than integers")
    try:
        return Code(**fields, codebook=tuple(book))
    except HardcastError as error:
        raise HardcastError(f"{where}: [{table:.60}] {error}") from None
