// Everything that is asked of the server.
import { events } from "./sse.js";
import { keptKey } from "./store.js";

// message: for the reader. status: of HTTP, 0 without an answer. wait: seconds, where one was told.
export class Trouble extends Error {
  constructor(message, status = 0, wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

export async function facts() {
  return (await ask("/page/facts", { method: "GET" })).json();
}

export async function rendered(text, signal) {
  return (await (await post("/page/render", { text }, signal)).json()).html;
}

export async function askForAccess(request) {
  await post("/access/requests", request);
}

// The events of an answer as objects; ends with the answer, throws Trouble where there is none.
export async function* answer(request, signal) {
  const usage = { stream: true, stream_options: { include_usage: true } };
  const reply = await post("/v1/chat/completions", { ...request, ...usage }, signal);
  let ended = false;
  for await (const data of events(reply.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Trouble(event.error.message, 500);
    ended ||= Boolean(event.choices?.[0]?.finish_reason);
    yield event;
  }
  if (!ended) throw new Trouble("The connection broke before the answer was finished.");
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function ask(path, options) {
  const headers = { ...options.headers };
  if (keptKey()) headers.Authorization = `Bearer ${keptKey()}`;
  let reply;
  try {
    reply = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached. Is it still running?");
  }
  if (reply.ok) return reply;
  const told = await reply.json().then((found) => found.error?.message, () => "");
  const wait = Number(reply.headers.get("Retry-After")) || 0;
  throw new Trouble(kindly(reply.status, told, wait), reply.status, wait);
}

// The server's own words where the reader can act on them, after what they mean for him.
function kindly(status, told, wait) {
  const when = wait ? ` Try again in ${wait} s.` : " Try again in a moment.";
  if (status === 401) return keptKey() ? "This key was not accepted." : "An API key is needed to go on.";
  if (status === 429) return `The server has its hands full, or your key's limit is reached.${when}`;
  if (status === 503) return `The server is not taking requests now.${when}`;
  if (status >= 500) return `Something went wrong in the server. ${told || ""}`.trim();
  return told ? `The server refused this: ${told}` : `The server refused this (${status}).`;
}
