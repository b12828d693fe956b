// Runs before the page is drawn, so that it never flashes in the wrong colours.
(function () {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("hardcast.theme"); } catch { /* storage is switched off */ }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
