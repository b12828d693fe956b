// What a pointer shows, a filter and a slider: the page is complete without any of them.
(function () {
  "use strict";
  // What a mark says, in a box beside the pointer. The same numbers stand in the table below.
  var box = document.createElement("div");
  box.className = "tip";
  box.hidden = true;
  document.body.appendChild(box);
  function show(event) {
    var mark = event.target.closest ? event.target.closest("[data-tip]") : null;
    box.hidden = !mark;
    if (!mark) return;
    box.textContent = mark.getAttribute("data-tip");
    var room = document.documentElement.clientWidth - box.offsetWidth - 8;
    box.style.left = Math.max(8, Math.min(event.clientX + 12, room)) + "px";
    box.style.top = Math.max(8, event.clientY - box.offsetHeight - 12) + "px";
  }
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", function () { box.hidden = true; }, { passive: true });

  // Rows of a table that hold every word of the text, and are of the kind.
  document.querySelectorAll(".filter").forEach(function (part) {
    var rows = Array.from(document.querySelectorAll("#" + part.dataset.of + " tbody tr"));
    var text = part.querySelector("input"), kind = part.querySelector("select");
    var told = part.querySelector("output");
    function apply() {
      var words = text.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      rows.forEach(function (row) {
        var all = row.textContent.toLowerCase();
        var fits = (!kind.value || row.dataset.kind === kind.value) &&
          words.every(function (word) { return all.includes(word); });
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      told.textContent = shown + " of " + rows.length;
    }
    text.addEventListener("input", apply);
    kind.addEventListener("change", apply);
    part.hidden = false;
    apply();
  });

  // A row of a plot's table, chosen by a slider.
  document.querySelectorAll(".slider").forEach(function (part) {
    var table = document.getElementById(part.dataset.of);
    var head = Array.from(table.querySelectorAll("thead th"));
    var rows = Array.from(table.querySelectorAll("tbody tr"));
    var input = part.querySelector("input"), told = part.querySelector("output");
    function apply() {
      var cells = Array.from(rows[Number(input.value)].children);
      var said = cells[2].textContent + " USD (" + cells[1].textContent + " to " +
        cells[3].textContent + ")";
      if (cells.length > 4) {
        said += "; " + head[4].textContent + " " + cells[4].textContent + " USD";
      }
      told.textContent = cells[0].textContent + ": " + said;
    }
    input.max = String(rows.length - 1);
    input.value = String(Math.floor((rows.length - 1) / 2));
    input.addEventListener("input", apply);
    part.hidden = false;
    apply();
  });

})();
