// Requests under way: what they have come to, their pictures into the history, cancelling, and beginning anew.

import { ApiError, patiently, stream } from "./api.js";
import { app, isFast } from "./app.js";
import { dataUrl, fromBase64 } from "./bytes.js";
import { askedOf, kindOf, stagesOf, STAGES, titleOf } from "./recipes.js";
import { store } from "./store.js";

/** @typedef {import("./types").StreamRequest} StreamRequest */
/** @typedef {import("./types").Picture} Picture */
/** @typedef {{ preview?: string, picture?: Picture, stage?: string, queue?: number }} Slot */
/** @typedef {"waiting" | "running" | "done" | "failed" | "cancelled"} State */

const AT_ONCE = 4; // browsers have six connections to a server
const SEEDS = 2 ** 32;
const PREVIEWS = 24; // of each picture, about

/** One request; "change" with every piece of news, "picture" with each picture. */
export class Job extends EventTarget {
  /** @type {State} */
  state = "waiting";
  /** What to know of it now, in words. */
  message = "Waiting for the requests before it";
  /** @type {ApiError | null} */
  error = null;
  /** @type {Slot[]} */
  slots;
  /** Steps done of all, 0 to 1, by image_index and stage. @type {Map<string, number>[]} */
  #steps;
  /** @type {import("./types").Notice[]} */
  notices = [];
  /** @type {string[]} */
  stages;
  created = Date.now();
  #stop = new AbortController();
  #id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;

  /**
   * @param {StreamRequest} request
   * @param {{ title?: string, about?: string[], film?: { symbol: string, values: number[] },
   *   terms?: import("./types").Term[], parents?: string[] }} [more] about: the pictures that it is shown with; terms,
   *   parents: of its pictures
   */
  constructor(request, more = {}) {
    super();
    const kind = kindOf(request);
    const asked = { ...askedOf(request) };
    asked.seed ??= String(Math.floor(Math.random() * SEEDS)); // so that what is begun anew is the same
    this.request = { previewInterval: interval(kind, asked), ...request, [kind]: asked };
    this.kind = kind;
    this.title = more.title || titleOf(request);
    this.about = more.about ?? [];
    this.film = more.film;
    this.terms = more.terms;
    this.parents = more.parents;
    this.stages = stagesOf(request);
    const made = more.film ? more.film.values.length : (asked.candidates ?? asked.imageCount ?? 1);
    this.slots = Array.from({ length: made }, () => ({}));
    this.#steps = Array.from({ length: made }, () => new Map());
    this.wanted = more.film ? made : (asked.imageCount ?? 1);
  }

  get live() {
    return this.state === "waiting" || this.state === "running";
  }

  /** Finished pictures, in their order. @returns {Picture[]} */
  get pictures() {
    return this.slots.flatMap((slot) => slot.picture ?? []);
  }

  /** Ends it; the server stops within a step. */
  cancel() {
    if (!this.live) return;
    this.#stop.abort();
    this.#become("cancelled", "Cancelled");
  }

  /** Runs it to its end. */
  async run() {
    try {
      await patiently(() => this.#once(), this.#stop.signal, (state, seconds) => this.#waits(state, seconds));
      this.#become("done", "");
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.error = error instanceof ApiError ? error : null;
      this.#become("failed", error instanceof Error ? error.message : String(error));
    }
  }

  async #once() {
    if (this.state === "cancelled") return;
    this.#become("running", "Asked for");
    for await (const told of stream(this.request, this.#stop.signal)) {
      if (told.progress) this.#progress(told.progress);
      else if (told.preview) this.#slot(told.preview.imageIndex).preview = dataUrl(told.preview.image);
      else if (told.notice) this.#notice(told.notice);
      else if (told.image) await this.#keep(told.image);
      this.dispatchEvent(new Event("change"));
    }
  }

  /** @param {number} [index] @returns {Slot} */
  #slot(index = 0) {
    return (this.slots[index] ??= {});
  }

  /** @param {import("./types").Progress} progress */
  #progress({ stage, step = 0, of = 1, imageIndex = 0, queuePosition = 0 }) {
    const slot = this.#slot(imageIndex);
    [slot.stage, slot.queue] = [stage, queuePosition];
    (this.#steps[imageIndex] ??= new Map()).set(stage, of ? step / of : 1);
    const ahead = this.slots.every((each) => each.picture || each.queue) ? Math.min(...this.slots.map((each) => each.queue ?? Infinity)) : 0;
    this.message = ahead ? `In the queue, ${ahead} ahead` : `${STAGES[stage] ?? stage}, step ${step} of ${of}`;
  }

  /** How far a stage has come with all pictures, 0 to 1. @param {string} stage */
  fraction(stage) {
    if (this.state === "done") return 1;
    const place = this.stages.indexOf(stage);
    const each = this.#steps.map((steps, at) => {
      const later = this.stages.slice(place + 1).some((next) => steps.has(next));
      return this.slots[at]?.picture || later ? 1 : (steps.get(stage) ?? 0);
    });
    return each.reduce((sum, value) => sum + value, 0) / Math.max(1, each.length);
  }

  /** @param {import("./types").Notice} notice */
  #notice(notice) {
    if (!this.notices.some((each) => each.message === notice.message)) this.notices.push(notice);
  }

  /** @param {import("./types").GeneratedImage} made */
  async #keep(made) {
    const index = made.imageIndex ?? 0;
    const type = made.image.mediaType || "image/png";
    const value = this.film?.values[index];
    const picture = {
      created: this.created - index, // newest first, and those of one request in their order
      kind: this.kind,
      title: this.title,
      type,
      width: made.image.width ?? 0,
      height: made.image.height ?? 0,
      recipe: made.recipe,
      seed: made.seed ?? "0",
      sources: made.sourceDigests ?? [],
      modelVersion: made.modelVersion,
      stageVersions: made.stageVersions,
      score: made.score,
      terms: this.terms,
      parents: this.parents,
      film:
        this.film && value !== undefined && this.film.values.length > 1
          ? { id: this.#id, index, count: this.film.values.length, value, symbol: this.film.symbol }
          : undefined,
    };
    const [kept] = await store.add([{ picture, blob: new Blob([fromBase64(made.image.data)], { type }) }]);
    const slot = this.#slot(index);
    [slot.picture, slot.preview] = [kept, undefined];
    this.dispatchEvent(new CustomEvent("picture", { detail: kept }));
  }

  /** @param {import("./api.js").State} state @param {number} seconds */
  #waits(state, seconds) {
    const when = `Trying again in ${Math.ceil(seconds)} s.`;
    const why = {
      key: "The service wants a key. It goes on when you have given one.",
      busy: `The service is busy. ${when}`,
      away: `The service cannot be reached. ${when}`,
      ok: "",
    };
    this.#become("waiting", why[state]);
  }

  /** @param {State} state @param {string} message */
  #become(state, message) {
    [this.state, this.message] = [state, message];
    if (state === "done") this.slots = this.slots.filter((slot) => slot.picture);
    this.dispatchEvent(new Event("change"));
    jobs.dispatchEvent(new CustomEvent("change", { detail: this }));
  }
}

/** Decoder steps from preview to preview. @param {import("./types").Kind} kind @param {import("./types").Asked} asked */
function interval(kind, asked) {
  const decoder = app.model?.stages?.find((stage) => stage.stage === "STAGE_DECODER");
  const defaults = (kind === "generate" && isFast(asked) && decoder?.fast) || decoder?.defaults;
  return Math.max(1, Math.ceil((asked.decoder?.steps ?? defaults?.steps ?? PREVIEWS) / PREVIEWS));
}

/** All requests of this tab, newest first; "change" where one begins or ends. */
class Jobs extends EventTarget {
  /** @type {Job[]} */
  all = [];
  /** @type {Job[]} */
  #queue = [];
  #running = 0;

  /**
   * @param {StreamRequest} request
   * @param {ConstructorParameters<typeof Job>[1]} [more]
   */
  start(request, more) {
    const job = new Job(request, more);
    this.all.unshift(job);
    this.#queue.push(job);
    this.dispatchEvent(new CustomEvent("change", { detail: job }));
    this.#next();
    return job;
  }

  /** Those that belong to the page of a picture. @param {string} id @param {import("./types").Kind} [kind] */
  about(id, kind) {
    return this.all.filter((job) => job.about.includes(id) && (!kind || job.kind === kind));
  }

  /** @param {Job} job */
  forget(job) {
    job.cancel();
    this.all = this.all.filter((each) => each !== job);
    this.dispatchEvent(new CustomEvent("change", { detail: job }));
  }

  #next() {
    while (this.#running < AT_ONCE && this.#queue.length) {
      const job = this.#queue.shift();
      if (!job?.live) continue;
      this.#running += 1;
      void job.run().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }
}

export const jobs = new Jobs();
