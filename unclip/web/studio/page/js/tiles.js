// Pictures in grids: loaded when they come into sight, dragged onto each other, chosen.

import { h } from "./dom.js";
import { KINDS } from "./recipes.js";
import { covers, search, store } from "./store.js";

/** @typedef {import("./types").Picture} Picture */

export const DRAGGED = "application/x-unclip-picture";

/** Loads pictures that come into sight. */
const sight = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || !(target instanceof HTMLImageElement)) continue;
      sight.unobserve(target);
      void show(target, target.dataset.digest ?? "");
    }
  },
  { rootMargin: "400px" },
);

/** @param {HTMLImageElement} image @param {string} digest */
async function show(image, digest) {
  const url = await store.url(digest);
  if (url) image.src = url;
}

/**
 * A picture that is loaded when it is seen.
 * @param {Picture} picture
 * @param {Record<string, any>} [properties]
 */
export function imageOf(picture, properties = {}) {
  const image = h("img", { alt: altOf(picture), width: picture.width, height: picture.height, decoding: "async", ...properties });
  image.dataset.digest = picture.id;
  sight.observe(image);
  return image;
}

/** @param {Picture} picture */
export function altOf(picture) {
  const frame = picture.film ? `, ${picture.film.symbol} ${picture.film.value.toFixed(2)}` : "";
  return `${picture.title}${picture.seed === undefined ? "" : `, seed ${picture.seed}`}${frame}`;
}

/** @param {string} id @param {string} [more] the address of a picture's page */
export function pageOf(id, more = "") {
  return `#/picture/${id}${more}`;
}

/**
 * A picture as a link to its page, onto which another one can be dropped.
 * @param {Picture} picture
 * @param {string} [words] below it
 */
export function tile(picture, words = picture.title) {
  const link = h(
    "a",
    {
      class: "tile",
      href: pageOf(picture.id),
      draggable: true,
      ondragstart: (/** @type {DragEvent} */ event) => {
        event.dataTransfer?.setData(DRAGGED, picture.id);
        if (event.dataTransfer) event.dataTransfer.effectAllowed = "copyLink";
      },
    },
    imageOf(picture, { draggable: false }),
    h("span", { class: "tile-text", "aria-hidden": "true" }, words),
    picture.film ? h("span", { class: "badge", "aria-hidden": "true" }, `▶ ${picture.film.count}`) : null,
    picture.score !== undefined ? h("span", { class: "badge" }, picture.score.toFixed(3)) : null,
  );
  droppable(link, (id) => {
    if (id !== picture.id) location.hash = pageOf(id, `/interpolate?to=${picture.id}`);
  });
  return link;
}

/**
 * Lets pictures of the page be dropped onto an element.
 * @param {HTMLElement} element
 * @param {(id: string) => void} dropped
 */
export function droppable(element, dropped) {
  const ours = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes(DRAGGED);
  element.addEventListener("dragover", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    element.classList.add("dropping");
  });
  element.addEventListener("dragleave", () => element.classList.remove("dropping"));
  element.addEventListener("drop", (event) => {
    element.classList.remove("dropping");
    if (!ours(event)) return;
    event.preventDefault();
    event.stopPropagation();
    dropped(event.dataTransfer?.getData(DRAGGED) ?? "");
  });
}

/**
 * The list of pictures, of which only what is near is drawn; "film" covers stand for their frames.
 * @param {Picture[]} pictures
 * @param {(picture: Picture) => HTMLElement} [made]
 */
export function grid(pictures, made = (picture) => tile(picture)) {
  return h("ul", { class: "grid" }, ...pictures.map((picture) => h("li", {}, made(picture))));
}

/**
 * Asks for one of the pictures, or for a file.
 * @param {string} title
 * @param {(file: File) => Promise<Picture | undefined>} open
 * @returns {Promise<Picture | undefined>}
 */
export function pick(title, open) {
  return new Promise((resolve) => {
    /** @type {Picture | undefined} */
    let chosen;
    const finish = (/** @type {Picture | undefined} */ picture) => {
      chosen = picture;
      dialog.close();
    };
    const list = h("div", { class: "pick-list" });
    const find = h("input", { type: "search", placeholder: "Search your pictures", "aria-label": "Search your pictures" });
    const draw = () =>
      list.replaceChildren(
        grid(search(covers(store.all), find.value).slice(0, 200), (picture) =>
          h("button", { type: "button", class: "tile", onclick: () => finish(picture) }, imageOf(picture), h("span", { class: "tile-text" }, `${KINDS[picture.kind]}: ${picture.title}`)),
        ),
      );
    find.addEventListener("input", draw);
    const file = h("input", {
      type: "file",
      accept: "image/png,image/jpeg,image/webp",
      class: "hidden",
      tabIndex: -1,
      "aria-label": "Picture file",
      onchange: async () => {
        const [given] = file.files ?? [];
        if (given) finish(await open(given));
      },
    });
    const dialog = h(
      "dialog",
      { class: "wide", "aria-label": title, onclose: () => (dialog.remove(), resolve(chosen)) },
      h("div", { class: "split" }, h("h2", {}, title), h("button", { type: "button", class: "quiet", onclick: () => finish(undefined) }, "Close")),
      h("div", { class: "row" }, find, h("button", { type: "button", onclick: () => file.click() }, "Open a file…"), file),
      list,
    );
    draw();
    document.body.append(dialog);
    dialog.showModal();
  });
}
