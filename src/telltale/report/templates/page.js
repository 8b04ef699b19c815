"use strict";
// The page reads whole without this: it adds the theme, the slider, filter and sorting.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
for (const control of all("[data-js]")) control.hidden = false;

const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light page" : "Dark page"; };
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
nameTheme();

for (const file of all(".file")) {
  const slider = file.querySelector("input[type=range]");
  const outlines = file.querySelector("input[type=checkbox]");
  slider?.addEventListener("input", () => {
    file.style.setProperty("--heat", slider.value / 100);
    slider.nextElementSibling.textContent = slider.value + " %";
  });
  outlines?.addEventListener("change", () => {
    for (const part of all(".boxes, .tags", file)) part.toggleAttribute("hidden", !outlines.checked);
  });
}

const table = document.getElementById("files");
if (table) {
  const rows = all("tbody tr", table);
  const search = document.getElementById("search");
  const verdict = document.getElementById("verdict");
  const shown = document.getElementById("shown");
  const filter = () => {
    const words = search.value.toLowerCase();
    let count = 0;
    for (const row of rows) {
      const fits = (!verdict.value || row.dataset.verdict === verdict.value)
        && row.textContent.toLowerCase().includes(words);
      row.hidden = !fits;
      const file = document.getElementById(row.dataset.file);
      if (file) file.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} files shown`;
  };
  search.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
  filter();

  const heads = all("thead th", table);
  const collator = new Intl.Collator("en", { numeric: true });
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const isNumber = head.classList.contains("num");
    const first = isNumber ? "descending" : "ascending";
    const second = isNumber ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const key = (row) => row.cells[column].dataset.sort;
    const compare = isNumber ? (a, b) => a - b : collator.compare;
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => (key(a) === "") - (key(b) === "") || sign * compare(key(a), key(b)));
    table.tBodies[0].append(...rows);
  }));
}

// Paper has no way to open what is folded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
