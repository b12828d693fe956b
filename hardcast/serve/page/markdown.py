"""Markdown of a model's answer as HTML that can do nothing but be read.

A model writes what it was trained or told to write, so its text is a stranger's. Three guards stand
behind one another: HTML in the text is text (markdown-it-py with html off), images become links
(nothing is fetched from elsewhere), and whatever came out is cleaned once more by nh3, which knows
only the tags and attributes below. The page's Content-Security-Policy is the fourth.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

TAGS = set(
    "p br hr h4 h5 h6 strong em s blockquote ul ol li code pre a table thead tbody tr th td".split()
)
SCHEMES = {"http", "https", "mailto"}
LANGUAGE = re.compile(r"[A-Za-z0-9+#._-]{1,24}")
ALIGNED = re.compile(r"text-align:(left|center|right)")
LOWER = 3  # h1 to h3 are the page's own headings
DEEPEST = 20  # lists and quotes in one another
Environment = MutableMapping[str, Any]


def render(text: str) -> str:
    """Markdown to HTML: headings, lists, tables, code, quotes, links to other pages.

    Headings begin at h4. <pre data-language> names a code block's language; th and td have class
    left, center or right.
    """
    return clean(_parser().render(text))


def clean(html: str) -> str:
    """HTML with nothing left but what render() writes."""
    return nh3.clean(
        html,
        tags=TAGS,
        clean_content_tags={"script", "style"},
        attributes={"a": {"href"}, "ol": {"start"}, "pre": {"data-language"}},
        attribute_filter=_attribute,
        allowed_classes={"th": {"left", "center", "right"}, "td": {"left", "center", "right"}},
        url_schemes=SCHEMES,
        # A page that opens from a conversation neither learns its address nor reaches back.
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    if (tag, name) == ("pre", "data-language"):
        return value if LANGUAGE.fullmatch(value) else None
    if (tag, name) == ("a", "href"):
        return value if _absolute(value) else None
    return value


def _absolute(url: str) -> bool:
    """Whether a link says where it leads: one that is relative would lead into this server."""
    return url.partition(":")[0].lower() in SCHEMES


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = _absolute  # type: ignore[method-assign]
    parser.core.ruler.push("lower_headings", _lower_headings)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    parser.add_render_rule("th_open", _cell)
    parser.add_render_rule("td_open", _cell)
    return parser


def _lower_headings(state: StateCore) -> None:
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + LOWER, 6)}"


def _image(
    self: RendererProtocol, tokens: Sequence[Token], index: int, options: Any, env: Environment
) -> str:
    """An image as a link to it."""
    token = tokens[index]
    link = Token("link_open", "a", 1, {"href": token.attrs.get("src", "")})
    words = token.content or "image"
    return f"<a{_attributes(link)}>{_escape(words)}</a>"


def _code(
    self: RendererProtocol, tokens: Sequence[Token], index: int, options: Any, env: Environment
) -> str:
    token = tokens[index]
    language = token.info.split()[0] if token.info.split() else ""
    named = Token("fence", "pre", 1, {"data-language": language} if language else {})
    return f"<pre{_attributes(named)}><code>{_escape(token.content)}</code></pre>\n"


def _cell(
    self: RendererProtocol, tokens: Sequence[Token], index: int, options: Any, env: Environment
) -> str:
    """A cell's alignment as a class: the page's policy takes no style attributes."""
    token = tokens[index]
    aligned = ALIGNED.match(str(token.attrs.get("style", "")))
    named = Token(token.type, token.tag, 1, {"class": aligned[1]} if aligned else {})
    return f"<{token.tag}{_attributes(named)}>"


def _attributes(token: Token) -> str:
    return "".join(f' {name}="{_escape(str(value))}"' for name, value in token.attrs.items())


def _escape(text: str) -> str:
    for mark, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(mark, name)
    return text
