// The page that asks for access: checks the fields, sends them, says what came of it.
import { byId, make } from "./common/dom.js";
import { askForAccess, facts } from "./common/server.js";
import { themeSwitch } from "./common/theme.js";

const FIELDS = ["name", "email", "purpose"];
const MISSING = {
  name: "Say who you are.",
  email: "Give an address that an answer can reach.",
  purpose: "Say in a sentence what you want to try.",
};
const form = byId("ask");

themeSwitch(document.querySelector(".tools").appendChild(make("button", { type: "button", id: "theme" }, "Dark")));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = FIELDS.filter((name) => !check(byId(name)));
  if (wrong.length) return byId(wrong[0]).focus();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await askForAccess(Object.fromEntries(FIELDS.map((name) => [name, byId(name).value.trim()])));
    form.hidden = true;
    tell("The request is in the queue. The operator reads it and sends you a key, or a word why not.");
  } catch (error) {
    tell(error.message);
  }
  button.disabled = false;
});

form.addEventListener("input", (event) => {
  if (event.target.getAttribute("aria-invalid")) check(event.target);
});

function check(field) {
  const right = field.validity.valid && field.value.trim() !== "";
  byId(`${field.id}-wrong`).textContent = right ? "" : MISSING[field.id];
  if (right) field.removeAttribute("aria-invalid");
  else field.setAttribute("aria-invalid", "true");
  return right;
}

function tell(text) {
  byId("outcome").textContent = text;
  byId("outcome").focus();
}

try {
  if (!(await facts()).keys) {
    form.hidden = true;
    byId("lead").textContent = "This server asks for no key: the chat and the API are open to whoever reaches it.";
  }
} catch {
  // The form can still be filled in; sending it will say what is wrong.
}
