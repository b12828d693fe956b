// The chat page: its parts, joined.
import { Chat } from "./chat.js";
import { composer } from "./compose.js";
import { Conversation } from "./conversation.js";
import { byId, make } from "./common/dom.js";
import { keyForm } from "./keyform.js";
import { panel, showFacts } from "./panel.js";
import { Race } from "./race/race.js";
import * as server from "./common/server.js";
import { Settings } from "./settings.js";
import { keptKey } from "./common/store.js";
import { themeSwitch } from "./common/theme.js";

const STARTS = [
  "What is a mask ROM, and why could one hold a language model?",
  "Compare copper, gold and silver as conductors in a table.",
  "Write a Python function that reverses a linked list.",
];

let known = null;  // facts of the chip
const race = new Race(byId("race"), () => known);
const needKey = keyForm((message) => chat.trouble(message));
const chat = new Chat(new Conversation(), new Settings(byId("panel-form")), {
  race: (turn) => race.open(turn),
  needKey,
  facts: () => known,
});

themeSwitch(byId("theme"));
panel();
composer(byId("compose"), byId("prompt"), () => chat.ready(), (text) => chat.send(text));
byId("stop").addEventListener("click", () => chat.stop());
byId("clear").addEventListener("click", () => {
  const empty = chat.conversation.turns.length === 0;
  if (empty || confirm("Clear the conversation? It is kept nowhere else.")) chat.clear();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("race").open) chat.stop();
});
addEventListener("pagehide", () => chat.conversation.save());
byId("starts").append(...STARTS.map((text) =>
  make("li", {}, make("button", { type: "button", onclick: () => chat.send(text) }, text))));

try {
  known = await server.facts();
  showFacts(known);
} catch (error) {
  chat.trouble(error.message, () => location.reload());
}
if (known?.keys && !keptKey()) needKey("", () => chat.restore());
await chat.restore();
if (matchMedia("(hover: hover)").matches && byId("keyform").hidden) byId("prompt").focus();
