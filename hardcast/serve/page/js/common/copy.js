// Buttons that copy a text and say so.
import { make, say } from "./dom.js";

export function copyButton(text, label, what) {
  const button = make("button", { type: "button", "aria-label": `Copy ${what}` }, label);
  button.addEventListener("click", async () => {
    const done = await copy(text());
    button.textContent = done ? "Copied" : "Not copied";
    say(done ? `Copied ${what}` : "Copying is not allowed here");
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);  // without https the clipboard's own interface is missing
  }
}

function copyBySelection(text) {
  const field = make("textarea", { class: "hidden", "aria-hidden": "true" });
  const before = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  return done;
}
