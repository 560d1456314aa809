// Light or dark as it was chosen, before anything is painted. Runs in <head>; all else comes later, as modules.
"use strict";

try {
  const theme = localStorage.getItem("tflm.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // The browser keeps nothing for this page: it follows the system.
}
