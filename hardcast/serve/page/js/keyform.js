// The field for an API key, shown when the server asks for one.
import { byId } from "./common/dom.js";
import { keepKey } from "./common/store.js";

// Returns ask(message, then): shows the field, and calls `then` once a key is given.
export function keyForm(complain) {
  const form = byId("keyform");
  let then = null;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key").value.trim();
    if (!key) return byId("key").focus();
    keepKey(key);
    byId("key").value = "";
    form.hidden = true;
    byId("prompt").focus();
    then?.();
  });
  return (message, next) => {
    then = next;
    complain(message);
    form.hidden = false;
    byId("key").focus();
  };
}
