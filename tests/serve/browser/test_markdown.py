"""Markdown on the page: what is shown, what can be copied, and what a hostile answer cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.serve.browser.tab import Tab

Open = Callable[..., Tab]

RICH = """# Title

Some **bold** text.

| metal | price |
|:--|--:|
| copper | 9 |

```python
print("hello <b>")
```
"""
HOSTILE = [
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 1'>",
    "![x](x' onerror='window.harmed=1)",
    "![x](https://example.org/pixel.png)",
    "[x](javascript:window.harmed=1)",
    "[x](data:text/html,<script>window.harmed=1</script>)",
    "<a href='javascript:window.harmed=1'>x</a>",
    '<https://example.org/" onmouseover="window.harmed=1>',
    "<svg><animate onbegin=window.harmed=1 attributeName=x></svg>",
    '```x" onclick="window.harmed=1\n</code></pre><script>window.harmed=1</script>\n```',
    "<iframe srcdoc='<script>parent.harmed=1</script>'></iframe>",
    "<style>@import 'https://example.org/x.css'; body { display: none }</style>",
    "<link rel=stylesheet href=https://example.org/x.css><base href=https://example.org/>",
]


def test_markdown_is_shown_as_what_it_means(open_tab: Open) -> None:
    tab = open_tab()
    tab.say(*(RICH[i : i + 7] for i in range(0, len(RICH), 7)))
    tab.send("go")
    tab.finished()
    page = tab.page
    page.wait_for_selector(".words table")
    assert page.inner_text(".words h4") == "Title"
    assert page.inner_text(".words strong") == "bold"
    assert page.inner_text(".words td.right") == "9"
    assert page.inner_text(".words pre") == 'print("hello <b>")\n'
    assert page.inner_text(".code-head span") == "python"
    assert page.query_selector_all(".words .plain") == []
    assert tab.kept()[1]["content"] == RICH


def test_code_answer_and_message_can_be_copied(open_tab: Open) -> None:
    tab = open_tab(permissions=["clipboard-read", "clipboard-write"])
    tab.say(RICH)
    tab.send("go")
    tab.finished()
    tab.page.wait_for_selector(".words pre")
    for button, text in (
        (".code-head button", 'print("hello <b>")\n'),
        ("button[aria-label='Copy answer 1']", RICH),
        ("button[aria-label='Copy message 1']", "go"),
    ):
        tab.page.click(button)
        tab.page.wait_for_selector(f"{button}:text-is('Copied')")
        assert tab.page.evaluate("navigator.clipboard.readText()") == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_answer_is_only_text(open_tab: Open, text: str) -> None:
    """A question is shown as it is, an answer as markdown; in neither does anything run or load."""
    tab = open_tab()
    tab.say(text, "\n\nend")
    tab.send(text)
    tab.finished()
    page = tab.page
    page.wait_for_selector(".turn.answer .words :text-is('end')")
    for element in page.query_selector_all(".words a, .words pre, .words code"):
        element.hover()
    assert page.evaluate("window.harmed") is None
    assert page.query_selector_all(".words :is(script, img, svg, iframe, style, link, base)") == []
    names = page.evaluate(
        "Array.from(document.querySelectorAll('.words *')).flatMap(e => e.getAttributeNames())"
    )
    assert not [name for name in names if name.startswith("on")]
    links = page.evaluate("Array.from(document.querySelectorAll('.words a'), a => a.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}
    assert page.inner_text(".turn.question .words") == text


def test_what_is_selected_stays_selected_while_more_comes(open_tab: Open) -> None:
    """Finished blocks are left alone when the rest is rendered anew."""
    tab = open_tab()
    tab.never_end()
    tab.set(temperature=0)
    lengths: list[int] = []

    def render(route: Any) -> None:
        lengths.append(len(route.request.post_data_json["text"]))
        route.fulfill(json={"html": f"<p>first</p><p>{lengths[-1]} letters</p>"})

    tab.page.route("**/page/render", render)
    tab.send("go")
    first = tab.page.wait_for_selector(".words p:text-is('first')")
    last = tab.page.wait_for_selector(f".words p:has-text('{lengths[0]} letters')")
    for _ in range(200):
        tab.page.wait_for_timeout(50)
        if len(lengths) > 3:
            break
    assert lengths == sorted(lengths) and len(lengths) > 3
    assert tab.page.evaluate("e => e.isConnected", first)
    assert not tab.page.evaluate("e => e.isConnected", last)
    tab.page.keyboard.press("Escape")
    tab.finished()


def test_text_that_is_not_rendered_yet_stands_where_it_will_be(open_tab: Open) -> None:
    """In the last line, so that words do not jump when they are rendered."""
    tab = open_tab()
    html = ["<p>one</p><ul><li>two</li></ul>"]
    tab.page.route("**/page/render", lambda route: route.fulfill(json={"html": html[-1]}))
    tab.never_end()
    tab.set(temperature=0)
    tab.page.on("dialog", lambda dialog: dialog.accept())
    for place in ("li > span > .plain", "pre > code > span > .plain"):
        tab.page.click("#clear")
        tab.send("go")
        tab.page.wait_for_selector(f"#log > li:last-child .words {place} + .caret")
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_selector("#send:visible")
        html.append("<p>one</p><pre><code>x = \n</code></pre>")
    tab.finished()
    assert tab.page.query_selector_all(".caret, .words .plain") == []


def test_without_rendering_an_answer_is_plain_text(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["500"]
    tab.page.route("**/page/render", lambda route: route.fulfill(status=500, json={}))
    tab.say("a **b**\n", "c")
    tab.send("go")
    tab.finished()
    assert tab.page.inner_text(".turn.answer .words") == "a **b**\nc"
