// A request under way, as it is shown: its stages, its pictures as they come, what went wrong.

import { announce, h, iconButton } from "./dom.js";
import { STAGES } from "./recipes.js";
import { tile } from "./tiles.js";

/** @typedef {import("./jobs.js").Job} Job */

/**
 * @param {Job} job
 * @param {{ forget?: (job: Job) => void, grid?: boolean }} [options] grid: whether its pictures are shown too
 * @returns {{ element: HTMLElement, dispose: () => void }}
 */
export function jobCard(job, { forget, grid = true } = {}) {
  const status = h("p", { class: "status" });
  const bars = h("div", { class: "stages" });
  const stop = h("button", { type: "button", onclick: () => job.cancel() }, "Cancel");
  const close = iconButton("close", `Put away ${job.title}`, { onclick: () => forget?.(job) });
  const notices = h("div", {});
  const list = h("ul", { class: "grid made" });
  const element = h(
    "article",
    { class: "job", "aria-label": job.title },
    h("div", { class: "split top" }, h("h3", { dir: "auto" }, job.title), h("div", { class: "row tight" }, stop, forget ? close : null)),
    bars,
    status,
    notices,
    grid ? list : null,
  );
  let said = "";
  const update = () => {
    element.dataset.state = job.state;
    stop.hidden = !job.live;
    close.hidden = job.live;
    bars.hidden = !job.live;
    draw(bars, job);
    status.textContent = job.message;
    status.hidden = !job.message;
    status.classList.toggle("wrong", job.state === "failed");
    notices.replaceChildren(...job.notices.map((notice) => h("p", { class: "notice" }, notice.message)), ...broken(job));
    if (grid) fill(list, job);
    // Not every step is said: screen readers would never be quiet.
    const news = job.state === "running" ? `${job.title}: ${job.message.split(",")[0]}` : `${job.title}: ${job.message || "finished"}`;
    if (news !== said) announce((said = news));
  };
  let planned = 0;
  const changed = () => {
    planned ||= requestAnimationFrame(() => {
      planned = 0;
      update();
    });
  };
  job.addEventListener("change", changed);
  update();
  return { element, dispose: () => job.removeEventListener("change", changed) };
}

/** Every broken rule. @param {Job} job */
function broken(job) {
  const fields = job.error?.fields ?? [];
  if (fields.length < 2) return [];
  return [h("ul", { class: "wrong" }, ...fields.map((each) => h("li", {}, `${each.field}: ${each.description}`)))];
}

/** @param {HTMLElement} bars @param {Job} job */
function draw(bars, job) {
  if (!bars.childElementCount)
    for (const stage of job.stages) {
      const name = STAGES[stage] ?? stage;
      const bar = h("progress", { max: 1, "aria-label": `${name} of ${job.title}` });
      bars.append(h("div", {}, h("span", { "aria-hidden": "true" }, name), bar));
    }
  job.stages.forEach((stage, at) => {
    const bar = bars.children[at]?.querySelector("progress");
    if (bar) bar.value = job.fraction(stage);
  });
}

/** The pictures that are there, and those on their way. @param {HTMLElement} list @param {Job} job */
function fill(list, job) {
  const slots = job.slots;
  while (list.childElementCount > slots.length) list.lastElementChild?.remove();
  while (list.childElementCount < slots.length) list.append(h("li", {}));
  slots.forEach((slot, at) => {
    const place = /** @type {HTMLElement} */ (list.children[at]);
    const wanted = slot.picture ? `picture ${slot.picture.id}` : slot.preview ? "preview" : job.live ? "empty" : "none";
    if (wanted === "preview") {
      let image = /** @type {HTMLImageElement | null} */ (place.querySelector("img.preview"));
      if (!image) {
        image = h("img", { class: "preview", alt: `Picture ${at + 1} of ${job.title}, on its way` });
        place.replaceChildren(h("div", { class: "tile" }, image));
      }
      if (image.src !== slot.preview) image.src = slot.preview ?? "";
    } else if (place.dataset.shows !== wanted) {
      if (slot.picture) place.replaceChildren(tile(slot.picture, `seed ${slot.picture.seed}`));
      else place.replaceChildren(h("div", { class: `tile ${wanted}` }));
    }
    place.dataset.shows = wanted;
  });
}
