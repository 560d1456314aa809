// What the page asks of the server: its models, and answers piece by piece.

const TOKEN = "tflm.token";
const IN_A_HEADER = /^[\x21-\x7e]+$/; // fetch would refuse others, each time
let askForToken = async () => null;

/** Why there is no answer: `kind` is network, broken, status or token; `words` are the server's own. */
export class Failure extends Error {
  constructor(kind, words = "", status = 0) {
    super(words || kind);
    Object.assign(this, { kind, words, status });
  }
}

/** Sets what asks the user for a token: `ask(whether one was refused)` gives it, or null for none. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

/** The models of the server, as `routes.describe_models` tells them. */
export async function listModels() {
  const response = await request("/web/models");
  return (await response.json().catch(rethrow)).models ?? [];
}

/**
 * The events of one answer, parsed: {piece}, and last {finish_reason, num_tokens, ...}.
 *
 * @param path of the model, such as /v1/models/chat/versions/2.
 * @param inputs the row: input name to value.
 * @param signal aborts the request, which ends the writing on the server.
 * @throws Failure, or the AbortError of the signal.
 */
export async function* streamAnswer(path, inputs, signal) {
  const response = await request(`${path}:stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ instances: [inputs], tokens_per_event: 2 }),
    signal,
  });
  for await (const { event, data } of readEvents(response.body)) {
    if (event === "end") return;
    if (event === "error") throw new Failure("status", reasonIn(data), response.status);
    if (data) yield JSON.parse(data);
  }
  throw new Failure("broken");
}

/** Server-sent events of a body: {event, data}. Comments, which keep the connection open, are passed over. */
async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(rethrow);
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      yield* blocks.map(readEvent);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function readEvent(block) {
  const fields = { event: "message", data: [] };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") fields.data.push(value);
    if (name === "event") fields.event = value;
  }
  return { event: fields.event, data: fields.data.join("\n") };
}

async function request(path, options = {}) {
  for (;;) {
    const token = keptToken();
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" }).catch(rethrowAs("network"));
    if (response.ok) return response;
    if (response.status !== 401) {
      throw new Failure("status", reasonIn(await response.text().catch(rethrow)), response.status);
    }
    if (keptToken() !== token) continue; // another request has been given one meanwhile
    asked ??= newToken(Boolean(token)).finally(() => (asked = null));
    if (!(await asked)) throw new Failure("token");
  }
}

let asked = null; // one question for all requests that wait for a token

/** Whether the user has given one; it is kept. */
async function newToken(wasRefused) {
  let given = await askForToken(wasRefused);
  while (given !== null && !IN_A_HEADER.test(given)) given = await askForToken(true);
  if (given !== null) keepToken(given);
  return given !== null;
}

const rethrow = rethrowAs("broken");

function rethrowAs(kind) {
  return (error) => {
    throw error.name === "AbortError" ? error : new Failure(kind);
  };
}

/** What a body says went wrong: {"error": "words"} or {"error": {"message": "words"}}; else nothing. */
function reasonIn(body) {
  try {
    const { error } = JSON.parse(body);
    return String(error?.message ?? error ?? "");
  } catch {
    return "";
  }
}

let token = ""; // where the browser keeps nothing

function keptToken() {
  try {
    return sessionStorage.getItem(TOKEN) ?? token;
  } catch {
    return token;
  }
}

function keepToken(given) {
  token = given;
  try {
    sessionStorage.setItem(TOKEN, given);
  } catch {
    // It holds until the page is left.
  }
}
