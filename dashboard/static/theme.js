// Runs before the page is drawn, so that a chosen theme does not flash.
"use strict";
const theme = new URLSearchParams(location.search).get("theme") || localStorage.getItem("theme");
document.documentElement.classList.add("js");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
