// The switch between light and dark; without a choice of his own the reader gets his system's.
import { keep, kept } from "./store.js";

const system = matchMedia("(prefers-color-scheme: dark)");

export function themeSwitch(button) {
  const show = () => {
    const chosen = kept("theme", null);
    const dark = chosen ? chosen === "dark" : system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  };
  button.addEventListener("click", () => {
    keep("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
  system.addEventListener("change", show);
  show();
}
