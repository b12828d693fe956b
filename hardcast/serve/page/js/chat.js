// What happens when: sending, stopping, editing, regenerating, and what is shown meanwhile.
import { fill, rate } from "./answering.js";
import { byId, make, say } from "./common/dom.js";
import { number } from "./common/format.js";
import { Log } from "./log.js";
import { paced } from "./race/paced.js";

export class Chat {
  // race(turn): opens the race. needKey(then): asks for a key. facts(): of the chip, null until known.
  constructor(conversation, settings, { race, needKey, facts }) {
    Object.assign(this, { conversation, settings, needKey, facts, running: null });
    this.log = new Log(byId("log"), byId("scroll"), byId("empty"), (index) => ({
      edit: (text) => this.send(text, index),
      regenerate: () => this.reply(index),
      race: () => race(conversation.turns[index]),
      predicted: (tokens) => {
        const chip = this.facts()?.chip;
        return chip && tokens > 1 ? (tokens - 1) / chip.value : null;  // as the race counts
      },
    }));
  }

  // What was kept from an earlier visit.
  async restore() {
    this.log.show(this.conversation.turns);
    this.readings();
    for (const view of this.log.views) await view.finish();
    this.log.follow(true);
  }

  // A message of the reader, at the end or in place of turn `index` and all after it.
  async send(text, index = Infinity) {
    if (!this.ready()) return;
    await this.stop();  // which may take an answer away that had not begun
    this.conversation.cut(index);
    const added = this.conversation.add({ role: "user", content: text });
    byId("prompt").focus();
    await this.reply(added + 1);
  }

  // The answer at `index`, in place of what stood there and after it.
  async reply(index) {
    if (!this.ready()) return;
    await this.stop();
    this.trouble("");
    this.conversation.cut(index);
    const request = { messages: this.conversation.messages(index, this.settings.system), ...this.settings.request() };
    const turn = { role: "assistant", content: "" };
    this.conversation.add(turn);
    this.log.show(this.conversation.turns);
    this.log.follow(true);
    const control = new AbortController();
    this.running = { control, done: this.run(turn, index, request, control) };
    this.busy(true);
    await this.running.done;
  }

  async run(turn, index, request, control) {
    const view = this.log.last;
    let failed = null;
    const show = paced(() => {
      if (this.running?.control !== control) return;  // it has finished meanwhile
      view.grow();
      this.readings();
      this.log.follow();
    });
    try {
      await fill(turn, request, control.signal, show);
    } catch (error) {
      if (control.signal.aborted) turn.stopped = true;
      else failed = error;
    }
    this.running = null;
    this.busy(false);
    if (!turn.content && (failed || turn.stopped)) {
      this.conversation.cut(index);
      this.log.show(this.conversation.turns);
    } else {
      this.conversation.save();
      await view.finish();
      this.log.follow();
      if (!failed) say(`${turn.stopped ? "Stopped" : "Answer"}: ${turn.content || "empty"}`);
    }
    this.readings();
    if (failed) this.failed(failed, index);
  }

  async stop() {
    const { running } = this;
    running?.control.abort();
    await running?.done;
  }

  async clear() {
    await this.stop();
    this.trouble("");
    this.conversation.clear();
    this.log.show(this.conversation.turns);
    this.readings();
    say("The conversation is cleared");
    byId("prompt").focus();
  }

  failed(error, index) {
    if (error.status === 401) return this.needKey(error.message, () => this.reply(index));
    const message = error.status === undefined ? "This page failed; reload it to go on." : error.message;
    this.trouble(message, () => this.reply(index));
    if (error.status === undefined) throw error;  // a bug of ours belongs into the console
  }

  // Whether the settings are such that a message can be sent; says so if not.
  ready() {
    const field = this.settings.wrong;
    if (!field) return true;
    if (!byId("panel").hidden) field.focus();
    this.trouble(`${field.labels[0].textContent}: ${field.validationMessage}`);
    return false;
  }

  trouble(text, again = null) {
    const place = byId("trouble");
    place.replaceChildren(text);
    if (text && again) place.append(make("button", { type: "button", onclick: again }, "Try again"));
  }

  busy(is) {
    // What is hidden loses the focus, and then nobody knows that it had it.
    const held = [byId("stop"), byId("send")].includes(document.activeElement);
    byId("send").hidden = is;
    byId("stop").hidden = !is;
    if (held) byId("prompt").focus();
    if (is) byId("said").textContent = "";
  }

  // The plate: tokens in the context, tokens a second.
  readings() {
    const turn = this.conversation.turns.findLast((turn) => turn.role === "assistant");
    const most = this.facts()?.context;
    const used = turn?.prompt ? turn.prompt + turn.tokens : turn?.tokens ?? 0;
    byId("context").textContent = most ? `${used.toLocaleString("en")} of ${most.toLocaleString("en")} tokens` : "…";
    const speed = turn && rate(turn);
    byId("rate").textContent = speed ? `${number(speed)} tokens/s` : "–";
  }
}
