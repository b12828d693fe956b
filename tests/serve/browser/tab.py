"""A tab of the browser on one of the server's pages, and what can be done there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WAIT_MS = 30_000
ENDS = ("0", "1", "2")  # tokens of tiny_vocabulary that end an answer
ELSEWHERE = ("http:", "https:", "ws:", "wss:")


class Tab:
    """options of the context: viewport, color_scheme, reduced_motion ... as Playwright has them.

    expected: texts of console errors that the test brings about itself.
    """

    def __init__(self, context: Any, url: str, path: str) -> None:
        self.url, self._context = url, context
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.expected: list[str] = []
        self._errors: list[str] = []
        self._elsewhere: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self._errors.append(str(error)))
        self.page.on("request", self._asked)
        self.go(path)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._errors.append(message.text)

    def _asked(self, request: Any) -> None:
        if request.url.startswith(ELSEWHERE) and not request.url.startswith(self.url + "/"):
            self._elsewhere.append(request.url)

    def go(self, path: str = "/") -> None:
        """Opens a page, and waits until it knows the chip."""
        self.page.goto(self.url + path)
        if path == "/":
            self.page.wait_for_selector("#model:text-is('tiny')")

    def close(self) -> None:
        """Ends the tab. Fails for errors that nobody expected and for requests to elsewhere."""
        self._context.close()
        unexpected = [e for e in self._errors if not any(part in e for part in self.expected)]
        assert not unexpected, unexpected
        assert not self._elsewhere, self._elsewhere

    def set(self, **fields: Any) -> None:
        """Fills fields of the settings, open or not."""
        if closed := not self.page.is_visible("#panel"):
            self.page.click("#settings")
        for name, value in fields.items():
            self.page.fill(f"#{name}", str(value))
        if closed:
            self.page.click("#settings" if self.page.is_hidden("#panel-close") else "#panel-close")

    def send(self, text: str) -> None:
        """Writes a message and sends it."""
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def finished(self, count: int = 1) -> None:
        """Waits until so many answers are there and none is being made."""
        self.page.wait_for_selector("#send:visible")
        self.page.wait_for_selector(f":nth-match(.turn.answer .under:visible, {count})")

    def turns(self) -> list[tuple[str, str]]:
        """(who, text) of the conversation; an answer's as markdown."""
        found = self.page.evaluate(
            "Array.from(document.querySelectorAll('.turn'), turn => ["
            "turn.querySelector('.who').textContent, turn.querySelector('.words').innerText])"
        )
        return [(who, text.strip()) for who, text in found]

    def kept(self) -> list[dict[str, Any]]:
        """The conversation as the browser keeps it."""
        text = self.page.evaluate("localStorage.getItem('hardcast.conversation')")
        return json.loads(text or "[]")

    def overflow(self) -> float:
        """By how many pixels the page, or what scrolls in it, is wider than its frame."""
        return self.page.evaluate(
            "Math.max(...['html', '#scroll', '#panel', '#race'].map(name => {"
            "  const e = document.querySelector(name);"
            "  return e ? e.scrollWidth - e.clientWidth : 0;"
            "}))"
        )

    def never_end(self) -> None:
        """The chip's answers end by their length only: their end tokens are barred."""

        def bar(route: Any) -> None:
            body = {**route.request.post_data_json, "logit_bias": dict.fromkeys(ENDS, -100)}
            route.continue_(post_data=json.dumps(body))

        self.page.route("**/v1/chat/completions", bar)

    def say(self, *parts: str, prompt_tokens: int = 5) -> None:
        """Answers the next requests with these parts instead of the chip's: one event each."""
        events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": p}}]} for p in parts]
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(parts) + 1}
        events.append({"choices": [], "usage": usage})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        self.page.route(
            "**/v1/chat/completions",
            lambda route: route.fulfill(body="".join(lines), content_type="text/event-stream"),
        )

    def keep(self, *turns: dict[str, Any]) -> None:
        """Puts a conversation into the browser, as if of an earlier visit, and opens the page."""
        text = json.dumps(json.dumps(turns))
        self.page.evaluate(f"localStorage.setItem('hardcast.conversation', {text})")
        # The page writes its own when it is left.
        self.page.add_init_script(
            "if (!sessionStorage.getItem('put')) { sessionStorage.setItem('put', '1');"
            f" localStorage.setItem('hardcast.conversation', {text}); }}"
        )
        self.go()

    def picture(self, path: Path) -> None:
        """A screenshot."""
        self.page.screenshot(path=path)
