"use strict";

const root = document.documentElement;
const shade = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// The parts of a chart that follow the theme.
function themed(layout) {
  const axis = { gridcolor: shade("--line"), linecolor: shade("--line"), zerolinecolor: shade("--line"), tickcolor: shade("--line") };
  return {
    ...layout,
    font: { family: shade("--font"), size: 12, color: shade("--quiet") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: shade("--card"), bordercolor: shade("--line"), font: { color: shade("--text"), family: shade("--font") } },
    xaxis: { ...layout.xaxis, ...axis },
    yaxis: { ...layout.yaxis, ...axis },
  };
}

function draw() {
  if (!window.Plotly) return;
  for (const box of document.querySelectorAll("[data-chart]")) {
    const spec = JSON.parse(box.dataset.chart);
    Plotly.react(box, spec.data, themed(spec.layout), { displayModeBar: false, responsive: true });
  }
}

// A changed filter applies at once; fields that are empty stay out of the address.
function submit(form) {
  for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  document.body.classList.add("loading");
  form.submit();
}

function listen() {
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form.filters");
    if (form) submit(form);
    if (event.target.matches(".slider")) submit(event.target.form);
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches(".slider")) return;
    const field = event.target.form.elements.as_of;
    const isNow = event.target.value === event.target.max;
    field.value = isNow ? "" : new Date(event.target.value * 1000).toISOString().slice(0, 19);
  });
  document.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.target);
  });
  document.addEventListener("click", (event) => {
    if (event.target.id === "theme") switchTheme();
    const link = event.target.closest("a[href]");
    if (link && !link.hasAttribute("download") && !event.ctrlKey && !event.metaKey) document.body.classList.add("loading");
    for (const open of document.querySelectorAll("details.moment[open]")) if (!open.contains(event.target)) open.open = false;
  });
  // A page from the browser's history is as it was when it was left.
  window.addEventListener("pageshow", () => document.body.classList.remove("loading"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

function switchTheme() {
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  draw();
}

// While the page shows now, it follows the warehouse: the age every few seconds, all of it with a new batch.
async function follow() {
  const main = document.getElementById("main");
  const isIdle = !document.hidden && !document.querySelector("details[open]") && !document.activeElement?.closest("form");
  if (main?.dataset.live !== "1" || !isIdle) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Batch": main.dataset.batch } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = answer.headers.get("X-Same-Batch") ? ["header"] : ["header", "main"];
    for (const id of parts) {
      const found = fresh.getElementById(id);
      if (found) document.getElementById(id).replaceWith(found);
    }
    if (parts.includes("main")) draw();
  } catch {
    // The next try may find the server again.
  }
}

listen();
draw();
setInterval(follow, 5000);
