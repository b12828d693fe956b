"""The page: every section computed, put into the template, one self-contained HTML text."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hardcast import __version__
from hardcast.report.plot import require
from hardcast.report.sections import (
    assumptions,
    breakdown,
    energy,
    floor,
    matrices,
    measured,
    price,
    rivals,
    speed,
    summary,
    uncertainty,
    validation,
)
from hardcast.report.study import Case, Study

Section = Callable[[Study], dict[str, Any]]

GENERATOR = f"Hardcast {__version__} datasheet"


def limits(study: Study) -> dict[str, Any]:
    """What is not modelled: words alone, some of them only where they apply."""
    design = study.case.design
    return {"dies": design.dies, "lora": design.lora_rank, "image": study.case.image is not None}


# Identifier, which also names its template; title; what computes it. Figures read by earlier
# sections are listed by "assumptions", so it stands near the end.
SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("summary", "Summary", summary.section),
    ("die", "The die", floor.section),
    ("model", "The model on the chip", matrices.section),
    ("quality", "Quality", measured.section),
    ("speed", "Speed", speed.section),
    ("breakdown", "Area and power", breakdown.section),
    ("energy", "Energy", energy.section),
    ("price", "Price", price.section),
    ("rivals", "Beside other machines", rivals.section),
    ("uncertainty", "Uncertainty", uncertainty.section),
    ("validation", "Held against published chips", validation.section),
    ("assumptions", "Assumptions", assumptions.section),
    ("limits", "What is not modelled", limits),
)


@dataclass(frozen=True)
class Imprint:
    """Of the page itself. date: ISO. command: that makes it again."""

    date: str
    command: str


def render(
    case: Case, imprint: Imprint, progress: Callable[[str, int, int], None] | None = None
) -> str:
    """The datasheet as one HTML text; the same case, imprint and versions give the same text.

    Raises HardcastError where the extra that draws is missing, and as quote() and fit() do.
    """
    require()
    study = Study(case)
    found = {}
    for done, (name, _, section) in enumerate(SECTIONS):
        if progress:
            progress("datasheet", done, len(SECTIONS))
        found[name] = section(study)
    html = (
        environment()
        .get_template("page.html")
        .render(
            case=case,
            design=case.design,
            imprint=imprint,
            version=__version__,
            generator=GENERATOR,
            sections=[(name, title, found[name]) for name, title, _ in SECTIONS],
            style=Markup(read("style.css")),
            script=Markup(read("script.js")),
            script_hash=script_hash(read("script.js")),
        )
    )
    if progress:
        progress("datasheet", len(SECTIONS), len(SECTIONS))
    html = re.sub(r"[ \t]+\n|\n\s*\n+", "\n", html)
    # A folder's name may hold bytes that are no UTF-8; the page is.
    return html.encode("utf-8", "replace").decode("utf-8")


def environment() -> Environment:
    """Autoescape is on for everything: names of models and files are the user's."""
    return Environment(
        loader=PackageLoader("hardcast.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def read(name: str) -> str:
    """A file of the template folder, without the blank lines that render() would drop."""
    text = resources.files(__package__).joinpath("template", name).read_text("utf-8")
    return re.sub(r"[ \t]+\n|\n\s*\n+", "\n", text).strip()


def script_hash(script: str) -> str:
    """What the page's policy allows: this script and no other. Only this text may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
