"""The pages as files: whole, closed to the world, and served with a policy that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardcast.image import open_image
from hardcast.serve import pages
from hardcast.serve.page import facts
from hardcast.serve.page.silicon import Silicon
from tests.serve import served

FILES = sorted(path for path in pages.FOLDER.rglob("*") if path.suffix in pages.TYPES)
HTML = [path for path in FILES if path.suffix == ".html"]


def test_every_file_is_served(tiny_server: served.Server) -> None:
    assert len(FILES) > 20
    with tiny_server.client() as client:
        for path in FILES:
            name = path.relative_to(pages.FOLDER).as_posix()
            reply = client.get(f"/page/{name}")
            assert reply.status_code == 200, name
            assert reply.content == path.read_bytes()
            assert reply.headers["content-type"] == pages.TYPES[path.suffix]
            assert reply.headers["content-security-policy"] == pages.POLICY
            assert reply.headers["x-content-type-options"] == "nosniff"
            again = client.get(f"/page/{name}", headers={"If-None-Match": reply.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert client.get("/").content == (pages.FOLDER / "index.html").read_bytes()
        assert client.get("/access").content == (pages.FOLDER / "access.html").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.js",
        "../pages.py",
        "%2e%2e/pages.py",
        "css",
        "js/../../keys.py",
        "facts.py",
        "facts.py",
        "__init__.py",
    ],
)
def test_nothing_else_is_served(tiny_server: served.Server, name: str) -> None:
    with tiny_server.client() as client:
        assert client.get(f"/page/{name}").status_code == 404


def test_the_policy_allows_this_servers_files_and_no_more() -> None:
    rules = dict(rule.split(" ", 1) for rule in pages.POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in pages.POLICY


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_keep_to_the_policy(path: Path) -> None:
    """No address of another machine, no inline script or style, no text made into HTML or code."""
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "//" not in re.sub(r"(^|\s)//", "", text, flags=re.MULTILINE)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", text)
    if path.suffix == ".js":
        html = len(re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text))
        assert html == (1 if path.name == "markdown.js" else 0)
        assert not re.search(r"\beval\b|new Function", text)
    if path.suffix == ".css":
        assert "@import" not in text and "url(" not in text


@pytest.mark.parametrize("path", HTML, ids=lambda path: path.name)
def test_what_a_page_names_is_there(path: Path) -> None:
    text = path.read_text("utf-8")
    for name in re.findall(r'(?:src|href)="/page/([^"]+)"', text):
        assert (pages.FOLDER / name).is_file(), name
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for attribute in ("for", "aria-describedby", "aria-controls", "aria-labelledby"):
        for named in re.findall(rf'\s{attribute}="([^"]+)"', text):
            assert set(named.split()) <= set(ids), named
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_every_script_is_used() -> None:
    """By a page or by another script; and every import leads to a script."""
    scripts = {path: path.read_text("utf-8") for path in FILES if path.suffix == ".js"}
    used = {
        pages.FOLDER / name
        for path in HTML
        for name in re.findall(r"/page/(js/[\w./]+)", path.read_text("utf-8"))
    }
    for path, text in scripts.items():
        used |= {(path.parent / name).resolve() for name in re.findall(r'from "([\w./]+)"', text)}
    assert used == set(scripts)


def test_ids_that_scripts_look_up_are_on_the_page() -> None:
    for page, first in (("index.html", "main.js"), ("access.html", "access.js")):
        text = (pages.FOLDER / page).read_text("utf-8")
        script = (pages.FOLDER / "js" / first).read_text("utf-8")
        for name in re.findall(r'byId\("([^"]+)"\)', script):
            assert f'id="{name}"' in text, f"{first}: {name}"


def test_rendering_asks_for_json_of_bounded_length(tiny_server: served.Server) -> None:
    with tiny_server.client() as client:
        reply = client.post("/page/render", json={"text": "a **b**"})
        assert reply.json() == {"html": "<p>a <strong>b</strong></p>\n"}
        for body in (
            {"text": "x" * (pages.LONGEST_TEXT + 1)},
            {"text": 1},
            {},
            {"text": "", "x": 1},
        ):
            reply = client.post("/page/render", json=body)
            assert reply.status_code == 400
            assert reply.json()["error"]["type"] == "invalid_request_error"
        assert client.post("/page/render", content='{"text": ""}').status_code == 415


def test_facts_name_the_chip_and_every_rates_source(
    tiny_server: served.Server, tiny_image: Path
) -> None:
    with tiny_server.client() as client:
        found = client.get("/page/facts").json()
    image = open_image(tiny_image)
    assert (found["model"], found["digest"]) == ("tiny", image.digest)
    assert (found["context"], found["keys"]) == (image.context, False)
    for speed in [*found["gpus"], *([found["chip"]] if found["chip"] else [])]:
        assert speed["title"] and speed["source"] and speed["kind"]
        assert 0 < speed["low"] <= speed["value"] <= speed["high"]
        assert speed["unit"] == "tokens/s"


def test_gpus_of_other_models_are_named_so_and_come_last(tiny_image: Path) -> None:
    """A tiny image has no GPU's figure of its own, so all that is left is published for others."""
    image = open_image(tiny_image)

    class Chip:
        name = "tiny"
        silicon = Silicon(image)

        def __init__(self) -> None:
            self.image = image

    found = facts.gpus(Chip())
    assert found
    assert all("with another model: " in gpu["title"] for gpu in found)
    assert [gpu["value"] for gpu in found] == sorted((gpu["value"] for gpu in found), reverse=True)
    assert not [gpu for gpu in found if gpu["kind"] in facts.RECKONED and not gpu.get("source")]
