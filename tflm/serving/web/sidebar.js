// The list of conversations, which is a drawer where the page is narrow; and the buttons for language and colours.

import { allConversations, titleOf } from "./conversations.js";
import { currentLanguage, label, setLanguage, text } from "./i18n.js";
import { icon } from "./icons.js";

const sidebar = document.getElementById("sidebar");
const shade = document.getElementById("shade");
const opener = document.getElementById("open-sidebar");
const list = document.getElementById("conversations");
const themeButton = document.getElementById("theme");
const languageButton = document.getElementById("language");
const THEMES = { system: "system", light: "sun", dark: "moon" };

/** Shows the conversations; `actions` has `open(conversation)` and `remove(conversation)`. */
export function showConversations(currentId, actions) {
  const focused = document.activeElement?.closest?.("li")?.dataset.id;
  list.replaceChildren(...allConversations().map((each) => makeEntry(each, each.id === currentId, actions)));
  if (focused) list.querySelector(`li[data-id="${CSS.escape(focused)}"] button`)?.focus();
}

/** Opens the drawer or closes it; where the page is wide the list is always there. */
export function toggleDrawer(open) {
  const wasOpen = sidebar.classList.contains("open");
  sidebar.classList.toggle("open", open);
  shade.hidden = !open;
  opener.setAttribute("aria-expanded", String(open));
  if (open) sidebar.querySelector("button:not(.narrow)").focus();
  else if (wasOpen) opener.focus();
}

/** Lets the buttons work. `onLanguage` writes anew what scripts wrote. */
export function startSidebar(onLanguage) {
  opener.addEventListener("click", () => toggleDrawer(true));
  document.getElementById("close-sidebar").addEventListener("click", () => toggleDrawer(false));
  shade.addEventListener("click", () => toggleDrawer(false));
  sidebar.addEventListener("keydown", (event) => {
    if (event.key === "Escape") toggleDrawer(false);
  });
  languageButton.addEventListener("click", () => {
    setLanguage(currentLanguage() === "en" ? "zh" : "en", true);
    onLanguage();
  });
  themeButton.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    setTheme(names[(names.indexOf(theme()) + 1) % names.length]);
    showChoices();
  });
}

/** Writes the buttons for language and colours in the language of the page. */
export function showChoices() {
  languageButton.textContent = currentLanguage() === "en" ? "中文" : "English";
  languageButton.lang = currentLanguage() === "en" ? "zh" : "en";
  const name = text(`theme_${theme()}`);
  document.getElementById("theme-icon").replaceChildren(icon(THEMES[theme()]));
  document.getElementById("theme-name").textContent = name;
  label(themeButton, text("switchTheme", { name }));
}

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function setTheme(chosen) {
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("tflm.theme", chosen);
  } catch {
    // It holds until the page is left.
  }
}

function makeEntry(conversation, isCurrent, actions) {
  const entry = document.createElement("li");
  entry.dataset.id = conversation.id;
  const title = titleOf(conversation) || text("untitled");
  const open = document.createElement("button");
  Object.assign(open, { className: "open", textContent: title, title });
  if (isCurrent) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => actions.open(conversation));
  const remove = document.createElement("button");
  remove.className = "icon-button";
  remove.append(icon("trash"));
  label(remove, text("deleteOne", { title }));
  remove.addEventListener("click", () => {
    if (confirm(text("deleteSure", { title }))) actions.remove(conversation);
  });
  entry.append(open, remove);
  return entry;
}
