// Frames of a trajectory under a slider: shown as they arrive, played there and back, saved as one animation.

import { ApiError, post } from "./api.js";
import { imageMessage } from "./bytes.js";
import { download, h, icon, toast, unique } from "./dom.js";

/** @typedef {{ bitmap: ImageBitmap, blob?: Blob, page?: string }} Frame page: the address of its own page */

const STEPS = 400; // of the slider
const ROUND_S = 2; // from one end to the other, as animations take

/**
 * @param {{ symbol: string, name: string, values: number[], side: number, title: string, value?: number }} options value:
 *   to begin with
 */
export function scrubber({ symbol, name, values, side, title, value }) {
  /** @type {(Frame | undefined)[]} */
  const frames = values.map(() => undefined);
  const [first, last] = [values[0], values[values.length - 1]];
  const canvas = h("canvas", { width: side, height: side, role: "img", class: "pixels" });
  const context = canvas.getContext("2d");
  const shown = h("output", {});
  const input = h("input", { type: "range", min: first, max: last, step: (last - first) / STEPS || 1, id: unique() });
  input.value = String(value ?? last);
  const ticks = h("div", { class: "ticks", "aria-hidden": "true" }, ...values.map(() => h("i", {})));
  const play = h("button", { type: "button", "aria-label": "Play", title: "Play", class: "quiet square" }, icon("play"));
  const save = h("button", { type: "button", disabled: true }, icon("save"), "Save as WebP");
  const open = h("a", { class: "button", hidden: true }, "Open this frame");
  const controls = h(
    "div",
    { class: "scrub" },
    h("div", { class: "split" }, h("label", { for: input.id }, name), shown),
    h("div", { class: "row tight" }, play, h("div", { class: "grow track" }, input, ticks)),
    h("div", { class: "row tight" }, save, open),
  );
  let planned = 0;
  let drawn = -1;
  let playing = 0;

  /** The frame that is there and closest to a value. @param {number} value */
  function nearest(value) {
    let best = -1;
    frames.forEach((frame, at) => {
      if (frame && (best < 0 || Math.abs(values[at] - value) < Math.abs(values[best] - value))) best = at;
    });
    return best;
  }

  function draw() {
    planned = 0;
    const at = nearest(Number(input.value));
    const frame = frames[at];
    shown.textContent = `${symbol} ${Number(input.value).toFixed(2)}`;
    input.setAttribute("aria-valuetext", `${symbol} ${Number(input.value).toFixed(2)}`);
    canvas.setAttribute("aria-label", at < 0 ? `${title}: no frame yet` : `${title} at ${symbol} ${values[at].toFixed(2)}`);
    open.hidden = !frame?.page || location.hash.startsWith(frame.page);
    if (frame?.page) open.href = frame.page;
    if (!frame || !context || drawn === at) return;
    // As wide as the widest frame, of the shape of the one that is shown.
    const wide = Math.max(canvas.width, frame.bitmap.width);
    const high = Math.round((wide * frame.bitmap.height) / frame.bitmap.width);
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    context.imageSmoothingEnabled = frame.bitmap.width < canvas.width;
    context.drawImage(frame.bitmap, 0, 0, canvas.width, canvas.height);
    canvas.dataset.frame = String((drawn = at));
  }

  function changed() {
    planned ||= requestAnimationFrame(draw);
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.replaceChildren(icon("play"));
    play.setAttribute("aria-label", (play.title = "Play"));
  }

  play.addEventListener("click", () => {
    if (playing) return stop();
    play.replaceChildren(icon("pause"));
    play.setAttribute("aria-label", (play.title = "Pause"));
    const began = performance.now();
    const from = (Number(input.value) - first) / (last - first || 1);
    const tick = (/** @type {number} */ now) => {
      const at = (from + (now - began) / 1000 / ROUND_S) % 2;
      input.value = String(first + (last - first) * (at > 1 ? 2 - at : at));
      draw();
      playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  });
  // From frame to frame: a step of the slider is too small to be seen or heard.
  input.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const here = Number(input.value);
    const edge = (last - first) / STEPS / 2; // the slider rounds
    const next = by > 0 ? values.find((each) => each > here + edge) : values.findLast((each) => each < here - edge);
    if (next === undefined) return;
    input.value = String(next);
    input.dispatchEvent(new Event("input"));
  });
  input.addEventListener("input", () => {
    if (playing) stop();
    changed();
  });
  save.addEventListener("click", async () => {
    save.disabled = true;
    try {
      const blobs = frames.flatMap((frame) => frame?.blob ?? []);
      const messages = await Promise.all(blobs.map(imageMessage));
      const answer = await post("animation", { frames: messages, seconds: ROUND_S });
      download(await answer.blob(), `${title.replace(/[^\w]+/g, "-").slice(0, 60)}.webp`);
    } catch (error) {
      toast(error instanceof ApiError || error instanceof Error ? error.message : String(error));
    } finally {
      save.disabled = false;
    }
  });

  return {
    canvas,
    controls,
    /** How many frames are there, finished. */
    get count() {
      return frames.filter((frame) => frame?.blob).length;
    },
    /**
     * A frame, or what it is to become.
     * @param {number} index
     * @param {Blob} blob
     * @param {string} [page] of a finished one
     */
    async set(index, blob, page) {
      const finished = page !== undefined;
      const bitmap = await createImageBitmap(blob);
      if (!finished && frames[index]?.blob) return;
      frames[index]?.bitmap.close();
      frames[index] = { bitmap, blob: finished ? blob : undefined, page };
      ticks.children[index]?.classList.add(finished ? "there" : "coming");
      if (drawn === index) drawn = -1;
      save.disabled = this.count < 2;
      changed();
    },
    dispose() {
      stop();
      cancelAnimationFrame(planned);
      frames.forEach((frame) => frame?.bitmap.close());
    },
  };
}

/** `count` even steps from `first` to `last`; a single one is `last` itself. @param {number} first @param {number} last @param {number} count */
export function steps(first, last, count) {
  return count < 2 ? [last] : Array.from({ length: count }, (_, at) => first + ((last - first) * at) / (count - 1));
}
