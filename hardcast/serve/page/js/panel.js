// The panel of settings: opened and closed by its switch, by its own button, and by Escape.
import { byId, make } from "./common/dom.js";
import { rounded } from "./common/format.js";
import { keep, kept } from "./common/store.js";

export function panel() {
  const [side, opener, closer] = ["panel", "settings", "panel-close"].map(byId);
  const wide = matchMedia("(min-width: 60.01rem)");
  const set = (open) => {
    side.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (wide.matches) keep("panel", open);
  };
  opener.addEventListener("click", () => {
    set(side.hidden);
    if (!side.hidden) byId("system").focus();
  });
  const close = () => {
    set(false);
    opener.focus();
  };
  closer.addEventListener("click", close);
  side.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });
  set(wide.matches && kept("panel", true));
}

// The image's papers.
export function showFacts(facts) {
  document.title = `Hardcast: ${facts.model}`;
  byId("model").textContent = facts.model;
  byId("digest").textContent = short(facts.digest);
  byId("digest").title = facts.digest;
  const band = (speed) =>
    `${rounded(speed.value)} tokens/s (${rounded(speed.low)} to ${rounded(speed.high)})`;
  const rows = [
    ["Model", facts.model],
    ["Digest", make("code", {}, facts.digest)],
    ["Context", `${facts.context.toLocaleString("en")} tokens`],
    ...facts.chip ? [
      ["Silicon", facts.chip.title],
      ["Predicted for one user", band(facts.chip)],
    ] : [["Silicon", "No prediction: no chip preset suits this model"]],
  ];
  byId("facts").replaceChildren(...rows.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

const short = (digest) => digest.replace(/^sha256:/, "").slice(0, 12);
