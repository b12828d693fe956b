"""Datasheets for tests: made once, and read back."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from hardcast.cli import parser
from hardcast.commands.silicon import report
from hardcast.evaluate.paired import compare
from hardcast.report.page import Imprint, render
from hardcast.report.study import Case

DATE = "2026-01-31"
HOSTILE = '<img src=x onerror=alert(1)>"&<script>.image'


class Page(HTMLParser):
    """What a test asks of a page.

    tables: rows of texts by the table's id. headings: level and text, in order. ids, links: in
    order. attributes: (tag, name, value). words: all that is read, with single spaces.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[tuple[int, str]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._text: list[str] = []
        self._rows: list[list[str]] | None = None
        self._heading = False
        self._silent = False
        self.feed(html)
        self.words = " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "table":
            self._rows = self.tables[given.get("id", f"table {len(self.tables)}")] = []
        if self._rows is not None and tag == "tr":
            self._rows.append([])
        if self._rows and tag in ("td", "th"):
            self._rows[-1].append("")
        if tag in ("h1", "h2", "h3", "h4"):
            self._heading = True
            self.headings.append((int(tag[1]), ""))
        if tag in ("style", "script"):
            self._silent = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = None
        if tag in ("h1", "h2", "h3", "h4"):
            self._heading = False
        if tag in ("style", "script"):
            self._silent = False

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self._text.append(data)
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += " ".join(data.split())
        if self._heading:
            level, text = self.headings[-1]
            self.headings[-1] = (level, " ".join(f"{text} {data}".split()))


def case(*words: str) -> Case:
    """What `hardcast report WORDS` is about."""
    return report.case_of(parser("report", report).parse_args([*words, "-o", "x.html"]))


@cache
def html(*words: str) -> str:
    """The datasheet of `hardcast report WORDS`, on a fixed date."""
    return render(case(*words), Imprint(DATE, "hardcast report"))


def quality(folder: Path, digest: str, **more: object) -> Path:
    """A measurement as `hardcast eval --json` writes it."""
    path = folder / "quality.json"
    values = {
        "windows": 2,
        "tokens": 1022,
        "perplexity": 18.5,
        "perplexity_float": 17.25,
        "kl_mean": 0.03125,
        "top1_agreement": 0.9155,
        "increase": 18.5 / 17.25 - 1,
        "digest": digest,
        "executor": "engine",
        **more,
    }
    path.write_text(json.dumps(values), "utf-8")
    return path


def compared(folder: Path, digest: str) -> Path:
    """What `eval --tasks ... --against` writes, of two tasks: 8 of 20 answers lost, and none."""
    right, wrong, more = [1.0] * 20, [0.0] * 8 + [1.0] * 12, [0.5, 1.5] * 10
    chip = {"basics_a": {"acc": wrong, "margin": more}, "basics_b": {"acc": right}}
    source = {"basics_a": {"acc": right, "margin": [2.0] * 20}, "basics_b": {"acc": right}}
    tasks, together = compare(chip, source)
    data = {
        "tasks": {"basics_a": {"acc": 0.6, "margin": 1.0, "other": 3.5}, "basics_b": {"acc": 1.0}},
        "comparison": {
            "tasks": {n: {m: asdict(p) for m, p in found.items()} for n, found in tasks.items()},
            "together": {metric: asdict(found) for metric, found in together.items()},
        },
        "digest": digest,
        "executor": "engine",
    }
    path = folder / "tasks.json"
    path.write_text(json.dumps(data), "utf-8")
    return path
