// Elements without strings of HTML.

// make("button", { type: "button", class: "x", onclick: f, "aria-label": "y" }, "text", child, ...)
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

// For whoever listens instead of looking: said once, politely. id: of a live region that is not
// behind an open dialog.
export function say(text, id = "said") {
  byId(id).textContent = "";
  // A region that is filled in the same task as it is emptied is not read again.
  setTimeout(() => { byId(id).textContent = text; }, 50);
}
