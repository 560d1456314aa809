// The chat page: what is open, what is being answered, and how the parts of the page hang together.

import * as kept from "./conversations.js";
import { label, preferredLanguage, setLanguage, text } from "./i18n.js";
import { placeIcons } from "./icons.js";
import { beginAnswer, showFailure, showMessages } from "./messages.js";
import { chooseVersion, fittingModel, hasModels, lookForModels, showPickers, urlOf, versionOf } from "./models.js";
import { Failure, onTokenWanted, streamAnswer } from "./server.js";
import { fillSettings, openSettings } from "./settings.js";
import { showChoices, showConversations, startSidebar, toggleDrawer } from "./sidebar.js";

const page = (id) => document.getElementById(id);
const KEEP_EVERY = 1000; // milliseconds, while an answer comes
const LOOK_AGAIN = 3000; // milliseconds, while there is no model
let open = kept.lastConversation() ?? kept.newConversation();
let running = null; // the AbortController of the answer that comes
let failure = null; // why there is no answer, or no list of models
let retry = null; // what is done about it
let hasLooked = false; // whether the server has told its models, or that it does not
let nextLook; // the timer of the next one, while there is no model
let wantsToSend = false; // Enter was pressed before the models were known

// ---- models ----

async function findModels() {
  const before = failure;
  let isNew = false;
  try {
    isNew = await lookForModels();
    if (retry === findModels) failure = null;
  } catch (error) {
    if (!hasModels()) [failure, retry] = [error, findModels];
  }
  if (isNew || !hasLooked || before?.message !== failure?.message) {
    hasLooked = true;
    fitModel();
    showAll();
  }
  if (wantsToSend && hasModels()) send();
  clearTimeout(nextLook);
  if (!hasModels() && failure?.kind !== "token") nextLook = setTimeout(findModels, LOOK_AGAIN);
}

/** A conversation goes on with its model; where that has gone, with another of its kind. */
function fitModel() {
  open.model = fittingModel(open.model, open.messages.length ? open.mode : null);
  if (!open.messages.length) open.mode = versionOf(open.model)?.mode ?? null;
}

/** Another model or version goes on with the conversation, unless it is talked with in another way. */
function changeModel(name, versionPath) {
  chooseVersion(versionPath);
  const mode = versionOf(name)?.mode ?? null;
  if (open.messages.length && mode !== open.mode) {
    stop();
    open = { ...kept.newConversation(), draft: open.draft };
  }
  Object.assign(open, { model: name, mode });
  failure = null;
  showAll();
}

// ---- the page ----

function showAll() {
  showPickers(open.model);
  showOpen();
  showList();
  showChoices();
  const change = (settings) => kept.keepSettings(open.model, settings);
  fillSettings(versionOf(open.model), kept.settingsOf(open.model), change);
}

function showOpen() {
  const mode = (open.model && open.mode) || "none";
  const isEmpty = !open.messages.length;
  page("welcome").hidden = !isEmpty || Boolean(failure) || !hasLooked;
  page("welcome-title").textContent = text(`title_${mode}`);
  page("welcome-text").textContent = text(`text_${mode}`, { model: open.model });
  const placeholder = mode === "complete" && !isEmpty ? "continue" : mode;
  page("prompt").placeholder = hasLooked ? text(`placeholder_${placeholder}`) : "";
  if (page("prompt").value !== open.draft) page("prompt").value = open.draft;
  page("export").disabled = isEmpty;
  if (!running) {
    showMessages(open, again, !failure);
    if (failure) showFailure(failure, retry);
  }
  showRunning();
}

function showRunning() {
  page("send").hidden = Boolean(running);
  page("stop").hidden = !running;
  page("send").disabled = !canSend();
  page("prompt").style.height = "auto";
  page("prompt").style.height = `${page("prompt").scrollHeight}px`;
}

function showList() {
  showConversations(open.id, { open: openConversation, remove });
}

function save() {
  open.updated = Date.now();
  if (!kept.keep(open)) page("status").textContent = text("error_storage");
  kept.rememberOpen(open.id);
}

function openConversation(conversation) {
  stop();
  open = conversation;
  if (retry !== findModels) failure = null;
  chooseVersion("");
  kept.rememberOpen(open.id);
  fitModel();
  toggleDrawer(false);
  showAll();
  page("prompt").focus();
}

function begin() {
  openConversation({ ...kept.newConversation(), model: open.model });
}

function remove(conversation) {
  kept.forget(conversation.id);
  if (conversation.id !== open.id) return showList();
  begin();
}

// ---- asking and answering ----

function canSend() {
  if (running || !open.model || open.mode === null) return false;
  return open.mode === "complete" ? open.draft !== "" || open.messages.length > 0 : open.draft.trim() !== "";
}

function send() {
  wantsToSend = !hasModels();
  if (!canSend()) return;
  if (open.draft !== "") open.messages.push({ role: "user", content: open.draft });
  open.draft = "";
  answer();
}

/** Asks for the last answer anew, also where there was none. */
function again() {
  if (running) return;
  if (open.messages.at(-1)?.role === "assistant") open.messages.pop();
  answer();
}

async function answer() {
  const conversation = open;
  const controller = new AbortController();
  const request = requestFor(conversation);
  const message = { role: "assistant", content: "", isPartial: true, seed: request.seed };
  failure = null;
  save();
  showOpen();
  showList();
  running = controller;
  showRunning();
  page("status").textContent = text("answering");
  let problem = null;
  try {
    await write(streamAnswer(urlOf(conversation.model), request, controller.signal), conversation, message);
  } catch (error) {
    if (error.name !== "AbortError") problem = error instanceof Failure ? error : new Failure("broken");
  }
  if (!message.isPartial || message.content) keepAnswer(conversation, message);
  if (running === controller) running = null;
  if (conversation !== open) return showList();
  [failure, retry] = [problem, again];
  page("status").textContent = text(problem ? "error" : message.isPartial ? "stopped" : "answered");
  showOpen();
}

/** Writes an answer on the page and into its conversation as it comes. */
async function write(pieces, conversation, message) {
  const view = beginAnswer(message);
  let keptAt = Date.now();
  for await (const { piece, ...facts } of pieces) {
    if (piece) {
      message.content += piece;
      view.append(piece);
    }
    if (facts.finish_reason !== undefined) {
      delete message.isPartial;
      Object.assign(message, {
        reason: facts.finish_reason,
        numTokens: facts.num_tokens,
        leftOut: facts.num_left_out || undefined,
      });
    }
    if (Date.now() - keptAt > KEEP_EVERY) {
      keptAt = Date.now();
      keepAnswer(conversation, message);
    }
  }
}

function keepAnswer(conversation, message) {
  if (!conversation.messages.includes(message)) conversation.messages.push(message);
  if (kept.isKept(conversation.id)) kept.keep(conversation); // else it was deleted meanwhile
}

function stop() {
  running?.abort();
  running = null;
}

/** What is asked: the conversation as its mode has it, and what was set; what was not is as the model has it. */
function requestFor({ mode, messages, model }) {
  const { system, ...settings } = kept.settingsOf(model);
  const takes = versionOf(model)?.settings ?? {};
  const known = Object.fromEntries(Object.entries(settings).filter(([name]) => name in takes));
  if ("seed" in takes) known.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
  if (mode === "answer") return { text: messages.findLast((each) => each.role === "user").content, ...known };
  if (mode === "complete") return { text: messages.map((each) => each.content).join(""), ...known };
  const said = system ? [{ role: "system", content: system }, ...messages] : messages;
  return { roles: said.map((each) => each.role), messages: said.map((each) => each.content), ...known };
}

function askForToken(wasRefused) {
  const dialog = page("token-dialog");
  page("token-text").textContent = text(wasRefused ? "tokenWrong" : "tokenText");
  page("token").value = "";
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue || null);
    dialog.returnValue = "";
    dialog.showModal();
  });
}

// ---- what the user does ----

function startPrompt() {
  const prompt = page("prompt");
  prompt.addEventListener("input", () => {
    open.draft = prompt.value;
    save();
    showRunning();
  });
  prompt.addEventListener("keydown", (event) => {
    // While an input method is open, as for Chinese, Enter chooses what it offers; 229 is how Safari tells of it.
    const composes = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || composes) return;
    event.preventDefault();
    send();
  });
  page("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
    prompt.focus();
  });
  page("stop").addEventListener("click", () => {
    running?.abort();
    prompt.focus();
  });
  document.addEventListener("keydown", (event) => {
    const isFree = !event.isComposing && !document.querySelector("dialog[open]");
    if (event.key === "Escape" && isFree) running?.abort();
  });
}

function startButtons() {
  page("new").addEventListener("click", begin);
  page("model").addEventListener("change", (event) => changeModel(event.target.value, ""));
  page("version").addEventListener("change", (event) => changeModel(open.model, event.target.value));
  page("open-settings").addEventListener("click", openSettings);
  page("export").addEventListener("click", () => kept.download(open, kept.settingsOf(open.model).system));
  page("reset-settings").addEventListener("click", () => {
    kept.keepSettings(open.model, {});
    showAll();
  });
  page("cancel-token").addEventListener("click", () => page("token-dialog").close(""));
  page("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    page("token-dialog").close(page("token").value.trim());
  });
}

placeIcons();
setLanguage(preferredLanguage(), false);
startPrompt();
startButtons();
startSidebar(showAll);
onTokenWanted(askForToken);
window.addEventListener("storage", (event) => kept.isConversationKey(event.key) && showList());
window.addEventListener("focus", () => !running && hasModels() && findModels());
showAll();
findModels();
