// The panel's fields, kept in this browser. A field that is empty is not sent.
import { byId } from "./common/dom.js";
import { keep, kept } from "./common/store.js";

const NUMBERS = ["temperature", "top_p", "top_k", "seed", "max_tokens"];

export class Settings {
  constructor(form) {
    this.form = form;
    const found = kept("settings", {});
    for (const name of ["system", ...NUMBERS]) byId(name).value = found[name] ?? "";
    form.addEventListener("input", () => this.save());
    form.addEventListener("reset", () => setTimeout(() => this.save()));
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  save() {
    keep("settings", Object.fromEntries(["system", ...NUMBERS].map((name) => [name, byId(name).value])));
  }

  get system() {
    return byId("system").value.trim();
  }

  // The first field whose number the chip could not take, or null.
  get wrong() {
    return NUMBERS.map(byId).find((field) => !field.validity.valid) ?? null;
  }

  // Fields of a request. A seed that nobody chose is drawn here, so that the answer can be had again.
  request() {
    const found = { seed: crypto.getRandomValues(new Uint32Array(1))[0] };
    for (const name of NUMBERS) {
      const value = byId(name).value;
      if (value !== "") found[name] = Number(value);
    }
    return found;
  }
}
