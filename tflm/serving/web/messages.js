// The messages on the page. What a model wrote is set as text, never as HTML.

import { text } from "./i18n.js";
import { icon } from "./icons.js";

const log = document.getElementById("messages");
const main = document.getElementById("main");
const elements = new WeakMap(); // of each message
const NEAR = 120; // pixels from the end within which the page follows the text

/**
 * Shows a conversation; below it, where `hasFoot`, what can be done: `again` asks anew. What stands there already stays,
 * so that a screen reader does not tell it twice.
 */
export function showMessages(conversation, again, hasFoot) {
  log.classList.toggle("running-text", conversation.mode === "complete");
  const wanted = conversation.messages.map(elementOf);
  const isOther = wanted.length > 1 && !wanted.some((element) => element.parentNode === log);
  if (isOther) holdTongue();
  for (const child of [...log.children]) if (!wanted.includes(child)) child.remove();
  for (const element of wanted) {
    if (element.parentNode !== log) log.append(element);
    element.removeAttribute("aria-busy");
  }
  const last = conversation.messages.at(-1);
  if (last && hasFoot) log.append(makeFoot(last, textToCopy(conversation), again));
  scrollToEnd();
}

/** An answer that is being written; what `append` is given stands at its end at once. */
export function beginAnswer(message) {
  log.querySelector(".foot-line")?.remove();
  const element = elementOf(message);
  element.setAttribute("aria-busy", "true");
  log.append(element);
  scrollToEnd();
  return {
    append(piece) {
      const follow = isNearEnd();
      element.querySelector(".words").append(piece);
      if (follow) scrollToEnd();
    },
  };
}

/** Shows why there is no answer, and a button to try again. */
export function showFailure(failure, retry) {
  const box = make("div", "failure");
  box.setAttribute("role", "alert");
  const words = make("div", "failure-words");
  words.append(make("strong", "", text("error")), make("span", "", wordsOf(failure)));
  box.append(icon("warning"), words, button("retry", "again", retry, "primary"));
  log.append(box);
  scrollToEnd();
}

function wordsOf(failure) {
  if (failure.kind === "status") return failure.words || text("error_status", { status: failure.status });
  return text(`error_${failure.kind}`);
}

/** The element of a message, made once. */
function elementOf(message) {
  if (!elements.has(message)) {
    const element = make("article", `message ${message.role}`);
    const body = make("div", "words", message.content);
    body.dir = "auto";
    element.append(make("h2", "unseen", text(message.role === "user" ? "you" : "model")), body);
    elements.set(message, element);
  }
  return elements.get(message);
}

/** Another conversation is shown: it is not read out from its beginning. */
function holdTongue() {
  log.setAttribute("aria-live", "off");
  setTimeout(() => log.setAttribute("aria-live", "polite"), 300);
}

/** What is told below the last message, and what can be done with it. */
function makeFoot(message, toCopy, again) {
  const foot = make("div", "foot-line");
  if (message.role === "user") {
    foot.append(button("retry", "again", again, "small"));
    return foot;
  }
  if (toCopy && navigator.clipboard) foot.append(copyButton(toCopy));
  foot.append(button("again", "again", again, "small"), make("span", "facts", factsOf(message).join(" · ")));
  return foot;
}

/** The last answer; of a text that goes on, all of it. */
function textToCopy({ mode, messages }) {
  return mode === "complete" ? messages.map((each) => each.content).join("") : messages.at(-1).content;
}

function factsOf(message) {
  const facts = [];
  if (!message.content && !message.isPartial) facts.push(text("empty"));
  if (message.isPartial) facts.push(text("stopped"));
  if (message.reason === "length") facts.push(text("length"));
  if (message.leftOut) facts.push(text("leftOut", { number: message.leftOut }));
  if (message.numTokens) facts.push(text("tokens", { number: message.numTokens }));
  if (message.seed !== undefined) facts.push(text("seed", { number: message.seed }));
  return facts;
}

function copyButton(content) {
  const made = button("copy", "copy", async () => {
    await navigator.clipboard.writeText(content);
    made.lastChild.textContent = text("copied");
  }, "small");
  return made;
}

function button(key, iconName, act, kind) {
  const made = make("button", kind);
  made.type = "button";
  made.append(icon(iconName), make("span", "", text(key)));
  made.addEventListener("click", act);
  return made;
}

function make(tag, className, words = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = words;
  return element;
}

function isNearEnd() {
  return main.scrollHeight - main.scrollTop - main.clientHeight < NEAR;
}

function scrollToEnd() {
  main.scrollTop = main.scrollHeight;
}
