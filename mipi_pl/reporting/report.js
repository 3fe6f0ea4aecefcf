"use strict";
// Tooltips at the points of pictures, switches for series, and a search in tables of text.

const REACH_PX = 24; // largest distance between the pointer and the point that it picks

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

function pick(svg, mark, event) {
  const series = mark && mark.closest("[data-series]").dataset.series;
  svg.classList.toggle("picked", Boolean(mark));
  for (const part of svg.querySelectorAll("[data-series]"))
    part.classList.toggle("picked", part.dataset.series === series);
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 4);
  const above = event.clientY - tip.offsetHeight - 10;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${above > 0 ? above : event.clientY + 14}px`;
}

function nearest(marks, event) {
  let best = null, least = REACH_PX;
  for (const mark of marks) {
    const box = mark.getBoundingClientRect();
    if (!box.width) continue; // hidden by a switch
    const x = (box.left + box.right) / 2 - event.clientX, y = (box.top + box.bottom) / 2 - event.clientY;
    if (Math.hypot(x, y) < least) [best, least] = [mark, Math.hypot(x, y)];
  }
  return best;
}

for (const svg of document.querySelectorAll("figure svg")) {
  const titles = [...svg.querySelectorAll("title")], marks = titles.map((title) => title.parentNode);
  titles.forEach((title, place) => { // in place of the browser's own tooltip, which comes late
    marks[place].dataset.tip = title.textContent;
    title.remove();
  });
  svg.addEventListener("pointermove", (event) => pick(svg, nearest(marks, event), event));
  svg.addEventListener("pointerleave", (event) => pick(svg, null, event));
}

for (const filter of document.querySelectorAll(".filter")) {
  filter.hidden = false;
  filter.addEventListener("change", ({ target }) => {
    for (const part of filter.closest("section").querySelectorAll("[data-series]"))
      if (part.dataset.series === target.value) part.classList.toggle("off", !target.checked);
  });
}

for (const table of document.querySelectorAll("table.text")) {
  const search = document.createElement("input"), rows = [...table.tBodies[0].rows];
  search.type = "search";
  search.placeholder = "search in the rows";
  search.setAttribute("aria-label", search.placeholder);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows)
      row.classList.toggle("off", !words.every((word) => row.textContent.toLowerCase().includes(word)));
  });
  if (rows.length > 5) table.parentNode.before(search);
}
