// The server: JSON, server-sent events, errors, the key, and patience with a server that is away or busy.

/** @typedef {import("./types").StreamRequest} StreamRequest */
/** @typedef {"ok" | "away" | "busy" | "key"} State */

const BASE = "studio/api/v1/";
const KEY = "unclip-key";
const FIRST_WAIT_S = 1;
const LONGEST_WAIT_S = 20;

/** What the server, or the way to it, says is wrong. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP, 0 where nobody answered
   * @param {Partial<import("./types").ErrorBody>} body
   */
  constructor(status, body) {
    super(body.message || "The service cannot be reached.");
    this.status = status;
    this.code = body.code || "UNAVAILABLE";
    this.reason = body.reason || "";
    this.fields = body.fields || [];
    this.retryAfter = body.retryAfter;
    this.requestId = body.requestId || "";
  }

  /** Whether, and how, it may pass. @returns {State | ""} */
  get passing() {
    if (this.code === "UNAUTHENTICATED") return "key";
    if (this.code === "RESOURCE_EXHAUSTED") return "busy";
    return this.code === "UNAVAILABLE" && this.reason !== "POISON_SUSPECTED" ? "away" : "";
  }
}

/** The key of this tab, null also where the browser keeps nothing for any page. */
function keptKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** How the server was when it was last asked; "change" where that is news. */
class Connection extends EventTarget {
  /** @type {State} */
  state = "ok";
  /** @type {string} why a key is asked for */
  why = "";
  /** When it is asked again, in the clock of `Date.now`. */
  again = 0;
  #key = keptKey() || "";

  get key() {
    return this.#key;
  }

  set key(key) {
    this.#key = key;
    try {
      if (key) sessionStorage.setItem(KEY, key);
      else sessionStorage.removeItem(KEY);
    } catch {
      // then it lasts until the page is loaded again
    }
    this.dispatchEvent(new Event("key"));
  }

  /** @param {State} state @param {number} [again] @param {string} [why] */
  tell(state, again = 0, why = "") {
    if (state === "ok" && this.state === "ok") return;
    [this.state, this.again, this.why] = [state, again, why];
    this.dispatchEvent(new Event("change"));
  }

  /** Whoever waits asks again at once. */
  hurry() {
    this.dispatchEvent(new Event("hurry"));
  }
}

export const connection = new Connection();
addEventListener("online", () => connection.hurry());

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} */
async function fetched(path, options) {
  const headers = new Headers(options.headers);
  if (connection.key) headers.set("authorization", `Bearer ${connection.key}`);
  let answer;
  try {
    answer = await fetch(BASE + path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, {});
  }
  if (answer.ok) {
    connection.tell("ok");
    return answer;
  }
  let body = {};
  try {
    body = (await answer.json()).error;
  } catch {
    // of a proxy, say, in words of its own
  }
  const code = { 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED" }[answer.status];
  const away = answer.status >= 502 && answer.status !== 504 ? "UNAVAILABLE" : "INTERNAL";
  throw new ApiError(answer.status, { code: code || away, message: `The service answered ${answer.status}.`, ...body });
}

/** @param {string} path @param {unknown} body @param {AbortSignal} [signal] */
export function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return fetched(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** @param {boolean} vocabulary @param {AbortSignal} [signal] @returns {Promise<import("./types").ModelInfo>} */
export async function modelInfo(vocabulary, signal) {
  const answer = await fetched(`model${vocabulary ? "?vocabulary=true" : ""}`, { signal });
  return (await answer.json()).model;
}

/**
 * What happens on the way of a request, ended by its "done". Raises ApiError, also where the stream breaks off.
 * @param {StreamRequest} request
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<import("./types").StreamResponse, void>}
 */
export async function* stream(request, signal) {
  const answer = await post("stream", request, signal);
  if (!answer.body) throw new ApiError(0, {});
  try {
    for await (const { name, data } of events(answer.body)) {
      if (name === "done") return;
      const told = JSON.parse(data);
      if (name === "error") throw new ApiError(200, told.error);
      yield told;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
  }
  throw new ApiError(0, { message: "The connection was lost." });
}

/**
 * Server-sent events, as they come.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<{ name: string, data: string }, void>}
 */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  /** @type {string[]} */
  const pieces = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      pieces.push(value);
      if (!value.includes("\n\n") && !(left.endsWith("\n") && value.startsWith("\n"))) {
        left = value.slice(-1);
        continue;
      }
      const blocks = pieces.splice(0).join("").split("\n\n");
      const rest = blocks.pop() || "";
      if (rest) pieces.push(rest);
      left = rest.slice(-1);
      for (const block of blocks) {
        const lines = block.split("\n").filter((line) => !line.startsWith(":"));
        const of = (/** @type {string} */ key) =>
          lines.filter((line) => line.startsWith(key)).map((line) => line.slice(key.length).replace(/^ /, "")).join("\n");
        if (lines.some(Boolean)) yield { name: of("event:"), data: of("data:") };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Does `work` until it succeeds, fails for good, or is called off; waits as long as the server asks for, or longer and
 * longer. Where a key is asked for it waits for the next.
 * @template T
 * @param {() => Promise<T>} work
 * @param {AbortSignal} signal
 * @param {(state: State, seconds: number) => void} [waits]
 * @returns {Promise<T>}
 */
export async function patiently(work, signal, waits) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passing || signal.aborted) throw error;
      const backoff = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 1.6 ** tries) * (0.8 + 0.4 * Math.random());
      const seconds = error.passing === "key" ? Infinity : Math.max(error.retryAfter ?? 0, backoff);
      connection.tell(error.passing, Date.now() + 1000 * seconds, error.reason);
      waits?.(error.passing, seconds);
      await rest(seconds, signal);
    }
  }
}

/**
 * Waits, less long where there is a reason to ask again.
 * @param {number} seconds
 * @param {AbortSignal} signal
 */
function rest(seconds, signal) {
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const done = () => {
      clearTimeout(timer);
      ended.abort();
      if (signal.aborted) reject(signal.reason);
      else resolve(undefined);
    };
    const timer = Number.isFinite(seconds) ? setTimeout(done, 1000 * seconds) : undefined;
    signal.addEventListener("abort", done, { signal: ended.signal });
    for (const news of ["hurry", "key"]) connection.addEventListener(news, done, { signal: ended.signal });
  });
}
