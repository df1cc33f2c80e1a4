// A trajectory on a picture's page: the request's frames under the slider, or those that are kept.

import { fromBase64 } from "./bytes.js";
import { scrubber } from "./scrubber.js";
import { store } from "./store.js";
import { pageOf } from "./tiles.js";

/** @typedef {import("./jobs.js").Job} Job */
/** @typedef {{ element: HTMLElement, controls: HTMLElement, dispose: () => void }} Shown */

/** Frames as they arrive. @param {Job} job @param {string} name @param {number} side @returns {Shown} */
export function filmOf(job, name, side) {
  const { symbol, values } = job.film ?? { symbol: "", values: [] };
  const scrub = scrubber({ symbol, name, values, side, title: job.title });
  /** @type {Map<number, string>} */
  const had = new Map();
  const update = () => {
    job.slots.forEach((slot, at) => {
      const news = slot.picture?.id ?? slot.preview;
      if (!news || had.get(at) === news) return;
      had.set(at, news);
      if (slot.picture) void store.file(slot.picture.id).then((file) => file && scrub.set(at, file.blob, pageOf(file.digest)));
      else if (slot.preview) void scrub.set(at, blobOf(slot.preview));
    });
  };
  job.addEventListener("change", update);
  update();
  return {
    element: scrub.canvas,
    controls: scrub.controls,
    dispose() {
      job.removeEventListener("change", update);
      scrub.dispose();
    },
  };
}

/** Frames that are kept. @param {import("./types").Picture} picture one of them @returns {Shown | undefined} */
export function keptFilm(picture) {
  const film = picture.film;
  const frames = film ? store.framesOf(film.id) : [];
  if (!film || frames.length < 2) return undefined;
  const values = frames.map((frame) => frame.film?.value ?? 0);
  const scrub = scrubber({ symbol: film.symbol, name: `Frame, by ${film.symbol}`, values, side: picture.width, title: picture.title, value: film.value });
  frames.forEach((frame, at) => void store.file(frame.id).then((file) => file && scrub.set(at, file.blob, pageOf(frame.id))));
  return { element: scrub.canvas, controls: scrub.controls, dispose: () => scrub.dispose() };
}

/** @param {string} url of data */
function blobOf(url) {
  const [head, data] = url.split(",");
  return new Blob([fromBase64(data)], { type: head.slice(5).split(";")[0] });
}
