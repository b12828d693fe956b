// An answer as it grows, shown as markdown that the server renders and cleans.
// What came since the last rendering stands where it will be as plain text, so nothing waits.
import { copyButton } from "./common/copy.js";
import { make } from "./common/dom.js";
import { rendered } from "./common/server.js";

const PERIOD_MS = 220;  // under five renderings a second
const ROUND_TRIP_MS = 50;  // not counted as work
const SHARE = 4;  // a long text is rendered less often: so many times as long is left to all else

// Blocks whose last line a text may go on in.
const OPEN = "p, h4, h5, h6, ul, ol, li, blockquote, .code, pre, code, .wide-table, table, tbody, tr, td";

// The only way by which a text becomes HTML on this page (Content-Security-Policy: trusted-types).
const policy = window.trustedTypes?.createPolicy("hardcast", { createHTML: (html) => html });

export class Markdown {
  constructor(element) {
    this.text = "";
    this.shown = 0;  // letters of the text that are rendered
    this.timer = 0;
    this.next = 0;  // when the server may be asked again
    this.current = null;  // the rendering on its way: one at a time, so the last one wins
    this.tail = make("span", { class: "plain" });
    this.end = make("span", {}, this.tail, make("span", { class: "caret", "aria-hidden": "true" }));
    this.blocks = make("div", { class: "blocks" }, this.end);
    element.replaceChildren(this.blocks);
  }

  // The text until now.
  set(text) {
    this.text = text;
    this.tail.textContent = text.slice(this.shown);
    this.schedule();
  }

  // All of the text. Resolves when it is shown as well as it can be.
  async finish(text) {
    this.set(text);
    clearTimeout(this.timer);
    this.timer = 0;
    await this.current;
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.shown < text.length) await this.render();
    this.end.replaceWith(this.tail);  // without the caret
    if (this.shown === text.length) this.tail.remove();
  }

  schedule() {
    if (this.timer || this.current) return;
    const wait = Math.max(0, this.next - performance.now());
    this.timer = setTimeout(() => { this.timer = 0; this.render(); }, wait);
  }

  render() {
    const text = this.text;
    const begun = performance.now();
    this.current = rendered(text).then(
      (html) => { this.show(html, text.length); return true; },
      () => false,  // it stays plain text
    ).then((done) => {
      this.current = null;
      const now = performance.now();
      this.next = Math.max(begun + PERIOD_MS, now + SHARE * (now - begun - ROUND_TRIP_MS));
      if (done && this.shown < this.text.length) this.schedule();
    });
    return this.current;
  }

  // Blocks that did not change stay as they are: what the reader selected remains selected.
  show(html, length) {
    const fresh = make("div");
    fresh.innerHTML = policy ? policy.createHTML(html) : html;
    adorn(fresh);
    this.end.remove();
    const now = [...this.blocks.children];
    const next = [...fresh.children];
    next.forEach((block, index) => {
      if (!now[index]) this.blocks.append(block);
      else if (!now[index].isEqualNode(block)) now[index].replaceWith(block);
    });
    now.slice(next.length).forEach((block) => block.remove());
    this.shown = length;
    this.tail.textContent = this.text.slice(length);
    this.place(this.text[length - 1] === "\n");
  }

  // Puts the end of the text behind the last line that is rendered. line: whether that has ended.
  place(line) {
    let at = this.blocks;
    while (at.lastElementChild?.matches(OPEN)) at = at.lastElementChild;
    // Code ends with a line's end, whether it was written yet or not.
    if (at.matches("pre code") && !line) at.textContent = at.textContent.replace(/\n$/, "");
    at.append(this.end);
  }
}

// Copy buttons on code; wide code and tables scroll by themselves, with the keyboard too.
function adorn(root) {
  for (const pre of root.querySelectorAll("pre")) {
    const language = pre.dataset.language || "text";
    const code = make("div", { class: "code" });
    pre.replaceWith(code);
    pre.tabIndex = 0;
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", `Code, ${language}`);
    code.append(
      make("div", { class: "code-head" }, make("span", {}, language),
        copyButton(() => pre.textContent, "Copy", `code, ${language}`)),
      pre,
    );
  }
  for (const table of root.querySelectorAll("table")) {
    const wide = make("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "Table" });
    table.replaceWith(wide);
    wide.append(table);
  }
  for (const link of root.querySelectorAll("a")) {
    link.append(make("span", { class: "hidden" }, " (opens in a new tab)"));
  }
}
