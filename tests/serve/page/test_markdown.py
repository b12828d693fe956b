"""Markdown to HTML: what is understood, and that nothing of a stranger's text can act."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nh3", reason="nh3 is missing: pip install 'hardcast[serve]'")
pytest.importorskip(
    "markdown_it", reason="markdown-it-py is missing: pip install 'hardcast[serve]'"
)

from hardcast.serve.page import markdown
from hardcast.serve.pages import LONGEST_TEXT

ATTRIBUTES = {
    "a": {"href", "rel", "target"},
    "ol": {"start"},
    "pre": {"data-language"},
    "th": {"class"},
    "td": {"class"},
}


class Seen(HTMLParser):
    """Tags, attributes and text of HTML as a browser's parser would take them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.comments: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def harmless(html: str) -> Seen:
    """Holds HTML to tags, attributes and links that can only be read."""
    seen = Seen(html)
    assert set(seen.tags) <= markdown.TAGS
    assert not seen.comments
    for tag, name, value in seen.attributes:
        assert name in ATTRIBUTES.get(tag, ()), (tag, name)
        if name == "href":
            assert value.partition(":")[0].lower() in markdown.SCHEMES, value
        if name == "class":
            assert value in ("", "left", "center", "right"), value
        if name == "data-language":
            assert markdown.LANGUAGE.fullmatch(value), value
    links = seen.tags.count("a")
    assert sum(name == "rel" and "noopener" in value for _, name, value in seen.attributes) == links
    return seen


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>\n"),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("# T\n\n## U\n\n### V\n\n#### W", "<h4>T</h4>\n<h5>U</h5>\n<h6>V</h6>\n<h6>W</h6>\n"),
        ("3. x\n4. y", '<ol start="3">\n<li>x</li>\n<li>y</li>\n</ol>\n'),
        ("~~gone~~", "<p><s>gone</s></p>\n"),
        ("```c++\nx < 1;\n```", '<pre data-language="c++"><code>x &lt; 1;\n</code></pre>\n'),
        ("```py title=x\n1\n```", '<pre data-language="py"><code>1\n</code></pre>\n'),
        ("```\n1\n```", "<pre><code>1\n</code></pre>\n"),
        ("    1 & 2", "<pre><code>1 &amp; 2\n</code></pre>\n"),
        (
            "![a *cat*](https://example.org/c.png)",
            '<p><a href="https://example.org/c.png" rel="noopener noreferrer nofollow" '
            'target="_blank">a *cat*</a></p>\n',
        ),
    ],
)
def test_what_is_understood(text: str, html: str) -> None:
    found = markdown.render(text)
    assert sorted(found.split('"')) == sorted(html.split('"'))  # attributes in any order
    harmless(found)


def test_columns_are_aligned_by_class() -> None:
    seen = harmless(markdown.render("|a|b|c|d|\n|:-|-:|:-:|-|\n|1|2|3|4|"))
    classes = [value for tag, _, value in seen.attributes if tag == "td"]
    assert classes == ["left", "right", "center"]
    assert seen.tags.count("td") == 4


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<style>body{}</style>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        "<!-- comment -->",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "a <b onmouseover=alert(1)>b</b>",
    ],
)
def test_html_is_text(text: str) -> None:
    assert harmless(markdown.render(text)).words.strip() == text


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "&#106;avascript:alert(1)",
        "javascript&colon;alert(1)",
        "vbscript:x",
        "data:text/html,<script>alert(1)</script>",
        "data:image/png;base64,AAAA",
        "file:///etc/passwd",
        "//example.org/x",
        "/metrics",
        "access",
        "blob:x",
    ],
)
def test_links_lead_only_to_other_pages(link: str) -> None:
    for text in (f"[x]({link})", f"![x]({link})", f"<{link}>", f"[x][y]\n\n[y]: {link}"):
        assert "a" not in harmless(markdown.render(text)).tags


MARKS = st.lists(
    st.sampled_from(
        "< > \" ' & ` ``` ~~~ * ** _ # - 1. | |- : [ ] ( ) ! \\ / = ; \n \n\n \t a script img "
        "onerror href= javascript: data: https://x.y <!-- --> <script> </script> <a </pre> "
        "<![CDATA[ ]]> style= class= onclick= &lt; &#x3c; \x00 \ufffd \u2028 é".split(" ")
    ),
    max_size=40,
).map("".join)


@given(st.one_of(MARKS, st.text(max_size=60)))
def test_whatever_is_written_is_harmless(text: str) -> None:
    harmless(markdown.render(text))


@given(st.one_of(MARKS, st.text(max_size=60)))
def test_the_last_guard_stands_alone(html: str) -> None:
    """Even if the parser let everything through."""
    harmless(markdown.clean(html))


@pytest.mark.parametrize(
    "part", ["[", "![", "*a **b ", "> ", "`", "- a\n ", "<", "|a|b|\n", "&#", "[a](", "_", "\n#"]
)
def test_no_text_takes_long(part: str) -> None:
    """The longest text that is accepted, of what makes parsers slow: under five seconds of this
    thread, whatever else the machine does.
    """
    text = part * (LONGEST_TEXT // len(part))
    begun = time.thread_time()
    markdown.render(text)
    assert time.thread_time() - begun < 5
