// The lanes of a race: whose speed it is, how fast, how it is known, and the text at that speed.
import { make } from "../common/dom.js";
import { plural, rounded, seconds } from "../common/format.js";
import { lettersAt } from "./pace.js";

const KINDS = {
  measured: "measured", published: "published", claim: "published by its maker or seller",
  reported: "reported by others", derived: "reckoned, not published", estimated: "estimated",
};

export function cpuLane(turn, speed) {
  const lane = new Lane(turn, "This CPU", "cpu");
  const tokens = `${turn.counted ? "" : "about "}${plural(turn.tokens, "token")}`;
  const took = `the last ${seconds(turn.seconds)} after the first, by this page's clock`;
  lane.set(speed, "measured", `This answer: ${tokens}, ${took}.`);
  return lane;
}

export function gpuLane(turn, gpus) {
  const lane = new Lane(turn, "A GPU", "gpu");
  const show = (gpu) => lane.set(gpu.value, `${KINDS[gpu.kind] ?? gpu.kind}${band(gpu)}`, sourced(gpu));
  if (!gpus.length) {
    lane.set(null, "no figure", "No speed of a GPU is known for this model.");
    return lane;
  }
  const choice = make("select", { "aria-label": "Which GPU" },
    ...gpus.map((gpu, index) => make("option", { value: index }, gpu.title)));
  choice.addEventListener("change", () => {
    show(gpus[choice.value]);
    lane.changed();
  });
  lane.head.append(choice);
  show(gpus[0]);
  return lane;
}

export function chipLane(turn, chip) {
  const lane = new Lane(turn, "The chip, predicted", "chip");
  if (chip) lane.set(chip.value, `prediction${band(chip)}, node ${chip.node}`, sourced(chip));
  else lane.set(null, "no prediction", "No chip preset suits this model, so no speed is predicted.");
  return lane;
}

const band = (speed) => speed.low === undefined || speed.low === speed.high ? ""
  : `, between ${rounded(speed.low)} and ${rounded(speed.high)}`;

const sourced = ({ source, note }) => `Source: ${source}.${note ? ` ${note[0].toUpperCase()}${note.slice(1)}.` : ""}`;

const roomy = matchMedia("(min-width: 48.01rem)");

class Lane {
  constructor(turn, name, kind) {
    Object.assign(this, { turn, name, duration: null, changed() {} });
    this.speed = make("p", { class: "speed" });
    this.kind = make("p", { class: "kind" });
    this.head = make("header", {}, make("h3", {}, name), this.speed, this.kind);
    this.text = make("div", { class: "text", tabindex: "0", role: "region", "aria-label": `Text, ${name}` });
    this.bar = make("progress", { max: turn.tokens, value: 0, "aria-label": `Tokens, ${name}` });
    this.told = make("p", { class: "told" });
    this.source = make("p", {});
    const source = make("details", { open: roomy.matches }, make("summary", {}, "Source"), this.source);
    this.element = make("section", { class: `lane ${kind}`, "aria-label": name },
      this.head, this.bar, this.text, this.told, source);
  }

  // speed: tokens/s or null.
  set(speed, kind, source) {
    this.rate = speed;
    this.duration = speed ? (this.turn.tokens - 1) / speed : null;
    this.speed.replaceChildren(speed ? rounded(speed) : "–", make("small", {}, " tokens/s"));
    this.kind.textContent = kind;
    this.source.textContent = source;
    this.made = -1;
  }

  // How it compares with the first lane.
  beside() {
    const times = this.rate / this.first?.rate;
    return times ? `, ${rounded(times)} × this CPU` : "";
  }

  // The lane at a time in seconds after its first token.
  show(time) {
    if (!this.duration) return;
    const { tokens, content, ends } = this.turn;
    const done = time >= this.duration;
    const made = done ? tokens : 1 + Math.floor(time * this.rate);
    if (made === this.made && done === this.done) return;
    Object.assign(this, { made, done });
    this.text.textContent = content.slice(0, done ? content.length : lettersAt(made, tokens, ends));
    this.text.scrollTop = this.text.scrollHeight;
    this.bar.value = made;
    this.told.textContent = done ? `Finished in ${seconds(this.duration)}${this.beside()}`
      : `${made.toLocaleString("en")} of ${plural(tokens, "token")}`;
    this.told.classList.toggle("done", done);
  }
}
