// One turn of the conversation as an element.
import { rate } from "./answering.js";
import { copyButton } from "./common/copy.js";
import { make } from "./common/dom.js";
import { number, plural, seconds } from "./common/format.js";
import { Markdown } from "./markdown.js";

// index: among all turns. count: among those of its role, from 1. on: { edit(text), regenerate(),
// race(), predicted(tokens) }. Returns { element, grow(), finish() }.
export function turnView(turn, index, count, on) {
  return turn.role === "user" ? question(turn, index, count, on) : answer(turn, index, count, on);
}

function frame(kind, who, index, ...children) {
  const id = `turn-${index}`;
  const name = make("h3", { class: "who", id }, who);
  const body = make("div", { class: "body" }, ...children);
  const article = make("article", { class: `turn ${kind}`, "aria-labelledby": id }, name, body);
  return make("li", {}, article);
}

function question(turn, index, count, on) {
  const words = make("div", { class: "words" }, turn.content);
  const edit = make("button", { type: "button", "aria-label": `Edit message ${count}` }, "Edit");
  const copy = copyButton(() => turn.content, "Copy", `message ${count}`);
  const under = make("div", { class: "under" }, make("div", { class: "actions" }, edit, copy));
  const element = frame("question", "You", index, words, under);
  edit.addEventListener("click", () => openEditor(turn, words, under, edit, on.edit));
  return { element, grow() {}, async finish() {} };
}

function openEditor(turn, words, under, edit, send) {
  const field = make("textarea", { "aria-label": "Edited message", rows: "3" });
  field.value = turn.content;
  const form = make("form", { class: "edit" }, field,
    make("div", { class: "row" },
      make("button", { type: "submit", class: "main" }, "Send anew"),
      make("button", { type: "button", onclick: close }, "Cancel")));
  function close() {
    form.replaceWith(words);
    under.hidden = false;
    edit.focus();
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) send(field.value);
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  words.replaceWith(form);
  under.hidden = true;
  field.focus();
}

function answer(turn, index, count, on) {
  const which = `answer ${count}`;
  const words = make("div", { class: "words" });
  const meta = make("p", { class: "meta" });
  const race = make("button", {
    type: "button", class: "race-open", "aria-label": `Race ${which}: this CPU, a GPU, the chip`, onclick: () => on.race(),
  }, "Race");
  const actions = make("div", { class: "actions" },
    copyButton(() => turn.content, "Copy", which),
    make("button", { type: "button", "aria-label": `Regenerate ${which}`, onclick: () => on.regenerate() }, "Regenerate"),
    race);
  const under = make("div", { class: "under", hidden: true }, actions, meta);
  const element = frame("answer", "Chip", index, words, under);
  const text = new Markdown(words);
  return {
    element,
    grow() {
      text.set(turn.content);
    },
    async finish() {
      meta.replaceChildren(...report(turn, on.predicted(turn.tokens)));
      race.hidden = rate(turn) === null;
      under.hidden = false;
      await text.finish(turn.content);
      if (!turn.content) words.replaceChildren(make("p", { class: "hint" }, "Ended at once, without a word."));
    },
  };
}

// What was measured, what was asked for, and what the chip would have taken.
function report(turn, predicted) {
  const found = [`${turn.counted ? "" : "about "}${plural(turn.tokens, "token")}`];
  if (rate(turn)) found.push(`${number(rate(turn))} tokens/s`);
  if (turn.first) found.push(`first after ${seconds(turn.first)}`);
  if (turn.seed !== undefined) found.push(`seed ${turn.seed}`);
  if (turn.reason === "length") found.push("ended by its length limit");
  if (turn.stopped) found.push("stopped");
  const words = [found.join(" · ")];
  if (predicted) words.push(" · ", make("span", { class: "predicted" }, `chip, predicted: ${seconds(predicted)}`));
  return words;
}
