"""axe-core finds nothing against WCAG 2.1 AA, on light and dark, large and small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def complaints(page: Any) -> list[str]:
    """What axe-core finds, a line each."""
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-core: extra `browser`")
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text("utf-8"))
    found = page.evaluate(
        """rules => axe.run(document,
          {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})""",
        RULES,
    )
    return [
        f"{entry['id']}: {node['target']} {node['failureSummary'][:200]}"
        for entry in found["violations"]
        for node in entry["nodes"]
    ]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("one", 1200, "light"),
        ("several", 375, "dark"),
        ("image", 375, "light"),
        ("image", 1200, "dark"),
    ],
)
def test_axe_finds_nothing(
    browser: Any, sheets: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(sheets[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = complaints(page)
    assert not found, "\n".join(found)
    context.close()


def test_axe_would_find_something(browser: Any, tmp_path: Path) -> None:
    """Guards the test above."""
    path = tmp_path / "bad.html"
    path.write_text('<html><svg role="img"></svg><p style="color:#ccc">pale</p></html>')
    page = browser.new_page()
    page.goto(path.as_uri())
    found = {line.split(":")[0] for line in complaints(page)}
    assert {"svg-img-alt", "color-contrast", "html-has-lang"} <= found
    page.close()
