"""The house: who may import whom, where floats and model names may live, what must have a page.

Everything is found by listing folders and reading syntax trees, so a new room, verb, model or
step kind is held to the same rules from the day it appears.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hardcast import cli, flow, models
from hardcast.program.step import KINDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hardcast"
DOCS = ROOT / "docs"

# A room imports only rooms to its left; everything may import errors, cores, files and text.
ORDER = (
    "errors cores files text cache toolchain technology numerics checkpoint tokenizer program "
    "models image quantize golden engine chip rtl simulate cells synthesis formal economics "
    "explore evaluate generate flow report serve console commands cli __main__"
).split()
# Executors know nothing of each other: the image is all that they share.
SILICON = ("rtl", "simulate", "cells", "synthesis", "formal")
STRANGERS = [
    {"golden", "engine"},
    *({executor, room} for executor in ("golden", "engine") for room in SILICON),
    {"simulate", "cells"},
    {"simulate", "formal"},
]
# Cell libraries and netlists are everybody's: no word of language models there.
CELLS_MAY_IMPORT = {"cells", "errors", "cores", "cache", "toolchain"}
# The same inside serve/: its folders and files, from left to right.
SERVE_ORDER = (
    "errors scheduling access page http openai pages app server workers on_ray __init__"
).split()
INTEGERS_ONLY = ("image", "golden", "engine")
# Rooms that meet the names which checkpoints use for themselves.
KNOWS_ARCHITECTURES = ("models", "checkpoint", "tokenizer")

LONGEST_FILE = 400  # lines
LONGEST_FOLDER = 20  # files of code
CODE = (".py", ".c", ".h", ".cpp", ".hpp", ".sv", ".js")


def room(path: Path) -> str:
    """The room (or top-level file) that a source file of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources(*rooms: str) -> list[Path]:
    """Python files of the package, of the named rooms or of all."""
    found = sorted(PACKAGE.rglob("*.py"))
    return [path for path in found if not rooms or room(path) in rooms]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def imports(path: Path) -> list[tuple[ast.AST, list[str]]]:
    """Every name of the package that a file imports, in parts, wherever the import stands."""
    found: list[tuple[ast.AST, list[str]]] = []
    package = ["hardcast", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "hardcast" and len(parts) > 1 and parts[1] != "__version__":
                found.append((node, parts[1:]))
    return found


def imported_rooms(path: Path) -> list[tuple[ast.AST, str]]:
    """Every room that a file imports."""
    return [(node, parts[0]) for node, parts in imports(path)]


def code_strings(path: Path) -> list[ast.Constant]:
    """String constants of a file that are not docstrings."""
    module = tree(path)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def project_files() -> list[Path]:
    """Files that are, or will be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room(path) for path in sources()} - {"__init__"} <= set(ORDER)


def test_a_room_imports_only_rooms_to_its_left() -> None:
    wrong = []
    for path in sources():
        here = room(path)
        if here == "__init__":
            continue
        for node, there in imported_rooms(path):
            if there != here and (
                there not in ORDER
                or ORDER.index(there) > ORDER.index(here)
                or any({here, there} <= pair for pair in STRANGERS)
            ):
                wrong.append(f"{place(path, node)}: {here} imports {there}")
    assert wrong == []


def test_cells_know_nothing_of_language_models() -> None:
    assert sources("cells")
    found = {there for path in sources("cells") for _, there in imported_rooms(path)}
    assert found <= CELLS_MAY_IMPORT


def test_serve_imports_from_left_to_right() -> None:
    """Its folders are rooms of their own; a file of serve/ itself counts by its name."""
    inside = PACKAGE / "serve"
    wrong = []
    for path in sources("serve"):
        here = path.relative_to(inside).parts[0].removesuffix(".py")
        for node, parts in imports(path):
            if parts[0] != "serve" or parts[1] == here:
                continue
            if SERVE_ORDER.index(parts[1]) > SERVE_ORDER.index(here):
                wrong.append(f"{place(path, node)}: {here} imports {parts[1]}")
    assert wrong == []


def test_no_two_files_import_each_other() -> None:
    """Directly or round a circle, in a function or for types alone. An __init__ only gathers."""
    files = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sources()
        if path.name != "__init__.py"
    }
    after: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for _, parts in imports(path):
            ends = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
            after[name] |= {next((end for end in ends if end in files), name)} - {name}
    while free := [name for name, needs in after.items() if not needs & set(after)]:
        for name in free:
            del after[name]
    assert after == {}, "these import one another, or wait for such"


def test_the_import_scan_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the guard: a form of import that the scan missed would pass silently."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "golden").mkdir()
    path = tmp_path / "golden" / "x.py"
    path.write_text(
        "import hardcast.engine\nfrom hardcast.engine import a\nfrom hardcast import engine\n"
        "from ..engine import b\nfrom .. import engine\nfrom . import steps\n"
        "def f():\n    from hardcast.engine.session import Session\n"
    )
    assert [there for _, there in imported_rooms(path)].count("engine") == 6


def is_path(node: ast.AST) -> bool:
    """Whether the left side of a slash is a file's path by its name, so that it joins."""
    while isinstance(node, ast.BinOp | ast.Call):
        node = node.left if isinstance(node, ast.BinOp) else node.func
    name = getattr(node, "attr", getattr(node, "id", ""))
    return re.search(r"(path|Path|folder|partial|parent)$", name) is not None


def float_nodes(module: ast.Module) -> list[tuple[ast.AST, str]]:
    """What would bring a float into a file: literals, true division, float types, float NumPy."""
    found: list[tuple[ast.AST, str]] = []
    for node in ast.walk(module):
        match node:
            case ast.Constant(value=float() | complex()):
                found.append((node, f"literal {node.value}"))
            case ast.BinOp(left=left, op=ast.Div()) if is_path(left):
                pass
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                found.append((node, "true division"))
            case (
                ast.Name(id="float" | "complex")
                | ast.Attribute(
                    attr="float16" | "float32" | "float64" | "single" | "double" | "longdouble"
                )
            ):
                found.append((node, "float type"))
            case ast.Attribute(
                attr="true_divide" | "divide" | "sqrt" | "exp" | "log" | "log2" | "mean" | "linalg"
            ):
                found.append((node, f"float function {node.attr}"))
            case ast.Constant(value=str()) if re.fullmatch(r"[<>=]?(f[248]|float\d*)", node.value):
                found.append((node, f"float dtype {node.value!r}"))
    return found


@pytest.mark.parametrize("name", INTEGERS_ONLY)
def test_no_floats(name: str) -> None:
    assert sources(name)
    wrong = [
        f"{place(path, node)}: {what}"
        for path in sources(name)
        for node, what in float_nodes(tree(path))
    ]
    assert wrong == []


def test_the_float_scan_sees_every_form() -> None:
    for text in (
        "x = 0.5",
        "x = a / b",
        "x /= 2",
        "float(x)",
        "np.float32",
        "a.mean()",
        "d = '<f4'",
    ):
        assert float_nodes(ast.parse(text)), text


def test_architecture_names_stay_in_models_and_checkpoint() -> None:
    names = set(models.architectures())
    assert names
    wrong = [
        f"{place(path, node)}: {node.value!r}"
        for path in sources()
        if room(path) not in KNOWS_ARCHITECTURES
        for node in code_strings(path)
        if node.value in names
    ]
    comment = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
    word = re.compile(rf"\b({'|'.join(sorted(names))})\b", re.IGNORECASE)
    for path in sorted((PACKAGE / "engine").rglob("*.[ch]*")):
        if path.suffix in (".c", ".h", ".cpp", ".hpp") and word.search(
            comment.sub("", path.read_text("utf-8"))
        ):
            wrong.append(f"{path.relative_to(ROOT)}")
    assert wrong == []


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_verb_is_documented(verb: str) -> None:
    assert f"\n## `{verb}`" in (DOCS / "commands.md").read_text("utf-8")
    assert f"`{verb}`" in (ROOT / "README.md").read_text("utf-8")
    assert f"hardcast {verb}" in cli.docstring(verb).partition("Example:")[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("executor", ["golden", "engine"])
def test_every_executor_handles_every_step_kind(executor: str, kind: str) -> None:
    """A kind counts as handled where its class is named outside an import, as in a `case`."""
    assert any(
        kind in (getattr(node, "id", None), getattr(node, "attr", None))
        for path in sources(executor)
        for node in ast.walk(tree(path))
    ), f"{executor} never names {kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_kind_has_a_page(kind: str) -> None:
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
    assert (DOCS / "steps" / f"{snake}.md").is_file()


def test_every_room_has_a_page() -> None:
    rooms = {room(path) for path in sources() if path.parent != PACKAGE}
    missing = {name for name in rooms if not (DOCS / f"{name}.md").is_file()}
    # The image's page is the definition of its format.
    assert missing - {"image"} == set()
    assert (DOCS / "image_format.md").is_file()


def test_the_picture_of_the_house_has_every_room_and_pass() -> None:
    page = (DOCS / "README.md").read_text("utf-8")
    picture = page[page.index("## The house") : page.index("A weight's way")]
    words = set(re.findall(r"\w+", picture))
    assert {room(path) for path in sources() if path.parent != PACKAGE} - words == set()
    assert set(flow.PASSES) - words == set()


def test_links_between_pages_lead_somewhere() -> None:
    wrong = []
    for page in project_files():
        if page.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    assert [str(p.relative_to(ROOT)) for p in sources() if not ast.get_docstring(tree(p))] == []


def test_no_folder_holds_too_many_trades() -> None:
    count = Counter(path.parent for path in project_files() if path.suffix in CODE)
    assert {str(f.relative_to(ROOT)): n for f, n in count.items() if n > LONGEST_FOLDER} == {}


def test_no_file_grows_out_of_one_thing() -> None:
    code = set(CODE) - {".sv", ".js"}
    long = {
        str(path.relative_to(ROOT)): lines
        for path in project_files()
        if path.suffix in code and (lines := path.read_bytes().count(b"\n")) > LONGEST_FILE
    }
    assert long == {}


def test_no_machine_paths_or_registry_hosts() -> None:
    """Spelled in pieces, so that this file does not find itself."""
    hosts = [
        "py" + "pi.org",
        "python" + "hosted",
        "npm" + "js",
        "pytorch" + ".org",
        "deb" + "ian.org",
    ]
    folders = ["/" + "work/", "/" + "root/", "/" + r"home/\w", "/" + r"tmp/\w/"]
    forbidden = re.compile("|".join([*map(re.escape, hosts), *folders]))
    wrong = []
    for path in project_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}: {found.group()}" for found in forbidden.finditer(text)
        ]
    assert wrong == []
