// What the browser keeps between visits. A browser that keeps nothing loses only that.
const PREFIX = "hardcast.";

// The theme is a bare word, because theme_early.js reads it before any module runs.
const bare = (name) => name === "theme";

export function kept(name, otherwise) {
  try {
    const text = localStorage.getItem(PREFIX + name);
    if (text === null) return otherwise;
    return bare(name) ? text : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

// Whether it was kept: false where there is no room or no permission.
export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, bare(name) ? value : JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function forget(name) {
  try { localStorage.removeItem(PREFIX + name); } catch { /* nothing was kept */ }
}

// The key stays in this tab only.
export function keptKey() {
  try { return sessionStorage.getItem(PREFIX + "key") || ""; } catch { return ""; }
}

export function keepKey(key) {
  try { sessionStorage.setItem(PREFIX + "key", key); } catch { /* asked for again next time */ }
}
