// The conversation: a list of turns, kept in this browser.
// A turn is { role, content } and of an answer more: tokens, seconds, first, ends, seed, stopped.
import { forget, keep, kept } from "./common/store.js";

export class Conversation {
  constructor() {
    const found = kept("conversation", []);
    const whole = (turn) => typeof turn?.content === "string" && turn.role && (turn.content || turn.reason);
    this.turns = Array.isArray(found) ? found.filter(whole) : [];
  }

  add(turn) {
    this.turns.push(turn);
    this.save();
    return this.turns.length - 1;
  }

  // Forgets the turn and all that came after it.
  cut(index) {
    this.turns.splice(index);
    this.save();
  }

  clear() {
    this.turns = [];
    forget("conversation");
  }

  save() {
    keep("conversation", this.turns);
  }

  // What the chip is sent for the answer that stands at index.
  messages(index, system) {
    const found = system ? [{ role: "system", content: system }] : [];
    for (const { role, content } of this.turns.slice(0, index)) {
      // A message that got no answer and the next one are one: many templates want turns in turn.
      if (found.at(-1)?.role === role) found.at(-1).content += `\n\n${content}`;
      else found.push({ role, content });
    }
    return found;
  }
}
