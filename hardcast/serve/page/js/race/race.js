// The race: an answer that is finished, replayed at three speeds side by side.
import { rate } from "../answering.js";
import { byId, say } from "../common/dom.js";
import { seconds } from "../common/format.js";
import { chipLane, cpuLane, gpuLane } from "./lanes.js";

const SLOWER = 100;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Race {
  constructor(dialog, facts) {
    Object.assign(this, { dialog, facts, lanes: [], frame: 0 });
    byId("race-close").addEventListener("click", () => dialog.close());
    byId("race-start").addEventListener("click", () => (this.frame ? this.end() : this.start()));
    byId("race-slow").addEventListener("change", () => { if (this.frame) this.start(); });
    dialog.addEventListener("close", () => this.halt());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  open(turn) {
    const facts = this.facts();
    this.lanes = [cpuLane(turn, rate(turn)), gpuLane(turn, facts?.gpus ?? []), chipLane(turn, facts?.chip)];
    byId("lanes").replaceChildren(...this.lanes.map((lane) => lane.element));
    for (const lane of this.lanes.slice(1)) {
      lane.first = this.lanes[0];
      lane.changed = () => this.start();
    }
    byId("race-slow").checked = false;
    this.dialog.showModal();
    byId("race-start").focus();
    byId("race-note").textContent = calm.matches
      ? "Your system asks for less motion, so the end is shown at once. Start plays the race anyway." : "";
    if (calm.matches) this.end();
    else this.start();
  }

  start() {
    this.halt();
    const factor = byId("race-slow").checked ? SLOWER : 1;
    const begun = performance.now();
    byId("race-start").textContent = "To the end";
    const step = () => {
      const now = (performance.now() - begun) / 1000 / factor;
      for (const lane of this.lanes) lane.show(now);
      byId("race-clock").textContent = clock(Math.min(now, this.longest), factor);
      if (now >= this.longest) this.end();
      else this.frame = requestAnimationFrame(step);
    };
    step();
  }

  get longest() {
    return Math.max(...this.lanes.map((lane) => lane.duration ?? 0));
  }

  // All at their ends, and what came of it said in words.
  end() {
    this.halt();
    for (const lane of this.lanes) lane.show(Infinity);
    byId("race-clock").textContent = clock(this.longest, 1);
    const told = this.lanes.filter((lane) => lane.duration).map((lane) => `${lane.name} ${seconds(lane.duration)}`);
    say(`Finished: ${told.join(", ")}`, "race-said");
  }

  halt() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    byId("race-start").textContent = "Start again";
  }
}

const clock = (time, factor) => `${time.toFixed(factor > 1 ? 4 : 3)} s`;
