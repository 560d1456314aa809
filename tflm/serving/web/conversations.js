// What was said, kept in this browser: each conversation under a key of its own, so that two tabs do not overwrite
// each other. A conversation is {id, model, mode, messages, draft, updated}, a message {role, content, ...}.

const PREFIX = "tflm.conversation.";
const SETTINGS = "tflm.settings";
const CURRENT = "tflm.current";

/** One that nothing was said in; it is kept once something is. */
export function newConversation() {
  const id = `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  return { id, model: "", mode: null, messages: [], draft: "", updated: Date.now() };
}

/** All that are kept, the newest first; what is damaged is passed over. */
export function allConversations() {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
    return keys.map((key) => readJson(key)).filter(isConversation).sort((a, b) => b.updated - a.updated);
  } catch {
    return [];
  }
}

/** Keeps a conversation, or forgets one with nothing in it; false where the browser has no room. */
export function keep(conversation) {
  const isEmpty = !conversation.messages.length && !conversation.draft;
  return isEmpty ? forget(conversation.id) : write(PREFIX + conversation.id, conversation);
}

/** Deletes a conversation. */
export function forget(id) {
  try {
    localStorage.removeItem(PREFIX + id);
  } catch {
    // Then it is not kept either.
  }
  return true;
}

/** Whether a conversation is kept. */
export function isKept(id) {
  return readJson(PREFIX + id) !== null;
}

/** Whether a key of the browser's storage is a conversation's. */
export function isConversationKey(key) {
  return key === null || key.startsWith(PREFIX);
}

/** The one that was open last, if it is still there. */
export function lastConversation() {
  const id = readJson(CURRENT);
  return allConversations().find((each) => each.id === id);
}

/** Remembers which one is open. */
export function rememberOpen(id) {
  write(CURRENT, id);
}

/** The first words that the user wrote; "" before there are any. */
export function titleOf(conversation) {
  const first = conversation.messages.find((message) => message.role === "user");
  return first ? first.content.trim().replace(/\s+/g, " ").slice(0, 80) : "";
}

/** What was set for a model: setting name to value; what it leaves out is as the model has it. */
export function settingsOf(model) {
  return readJson(SETTINGS)?.[model] ?? {};
}

/** Keeps what was set for a model. */
export function keepSettings(model, settings) {
  write(SETTINGS, { ...readJson(SETTINGS), [model]: settings });
}

/** Gives a conversation out as a file, in the form that `tflm chat` loads and chat models are trained on. */
export function download(conversation, system) {
  const said = conversation.messages.map(({ role, content }) => ({ role, content }));
  const messages = system ? [{ role: "system", content: system }, ...said] : said;
  const link = document.createElement("a");
  const blob = new Blob([`${JSON.stringify({ messages })}\n`], { type: "application/json" });
  link.href = URL.createObjectURL(blob);
  link.download = `conversation-${new Date(conversation.updated).toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function isConversation(found) {
  const isMessage = (each) => typeof each?.role === "string" && typeof each?.content === "string";
  return typeof found?.id === "string" && Array.isArray(found.messages) && found.messages.every(isMessage);
}

function readJson(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
