// All pictures of this browser: found, chosen, compared, put on one sheet, saved, forgotten.

import { store, covers, search } from "./store.js";
import { download, h, slug, toast } from "./dom.js";
import { contactSheet } from "./sheet.js";
import { altOf, imageOf, tile } from "./tiles.js";

/** @typedef {import("./types").Picture} Picture */

/** @returns {import("./types").View} */
export function historyView() {
  const find = h("input", { type: "search", placeholder: "Words, seed or kind", "aria-label": "Search your pictures" });
  const select = h("button", { type: "button", "aria-pressed": "false" }, "Select");
  const list = h("ul", { class: "grid history" });
  const told = h("p", { class: "muted", role: "status" });
  /** @type {Set<string>} */
  const chosen = new Set();
  const compare = h("button", { type: "button", onclick: () => (location.hash = `#/compare/${[...chosen].join("/")}`) }, "Compare");
  const sheet = h("button", { type: "button", onclick: () => void contactSheet(chosenPictures()) }, "Contact sheet");
  const save = h("button", { type: "button", onclick: () => void saveAll(chosenPictures()) }, "Download");
  const forget = h("button", { type: "button", class: "danger", onclick: remove }, "Forget");
  const said = h("span", { class: "grow" });
  const bar = h("div", { class: "bar", role: "toolbar", "aria-label": "With those selected", hidden: true }, said, compare, sheet, save, forget);
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "split" }, h("h1", {}, "Your pictures"), h("div", { class: "row" }, find, select)),
    told,
    list,
    bar,
  );
  const choosing = () => select.getAttribute("aria-pressed") === "true";
  const chosenPictures = () => store.all.filter((picture) => chosen.has(picture.id));

  function remove() {
    const gone = chosenPictures().flatMap((picture) => (picture.film ? store.framesOf(picture.film.id) : [picture]));
    const many = gone.length === 1 ? "this picture" : `these ${gone.length} pictures`;
    if (!confirm(`Forget ${many}? They are nowhere but in this browser.`)) return;
    chosen.clear();
    void store.remove(gone.map((picture) => picture.id));
  }

  /** @param {Picture} picture */
  function choice(picture) {
    const button = h("button", { type: "button", class: "tile", "aria-pressed": String(chosen.has(picture.id)) }, imageOf(picture), h("span", { class: "tile-text" }, picture.title));
    button.addEventListener("click", () => {
      if (chosen.has(picture.id)) chosen.delete(picture.id);
      else chosen.add(picture.id);
      button.setAttribute("aria-pressed", String(chosen.has(picture.id)));
      tellChosen();
    });
    return button;
  }

  function tellChosen() {
    bar.hidden = !choosing();
    said.textContent = `${chosen.size} selected`;
    compare.disabled = chosen.size !== 2;
    for (const button of [sheet, save, forget]) button.disabled = !chosen.size;
  }

  function draw() {
    const found = search(covers(store.all), find.value);
    const at = list.contains(document.activeElement) ? document.activeElement?.querySelector("img")?.dataset.digest : undefined;
    list.replaceChildren(...found.map((picture) => h("li", {}, choosing() ? choice(picture) : tile(picture))));
    told.textContent = found.length ? `${found.length} ${found.length === 1 ? "picture" : "pictures"}, kept ${store.kept ? "in this browser only" : "until this tab is closed"}.` : store.all.length ? "No picture has these words." : "There are none yet.";
    tellChosen();
    // Pictures that come do not take the focus away.
    if (at) /** @type {HTMLElement | null | undefined} */ (list.querySelector(`[data-digest="${at}"]`)?.closest(".tile"))?.focus({ preventScroll: true });
  }

  select.addEventListener("click", () => {
    select.setAttribute("aria-pressed", String(!choosing()));
    chosen.clear();
    draw();
  });
  find.addEventListener("input", draw);
  store.addEventListener("change", draw);
  draw();
  return { element, title: "Your pictures", dispose: () => store.removeEventListener("change", draw) };
}

/** Saves the files as they came, recipes inside. @param {Picture[]} pictures */
export async function saveAll(pictures) {
  for (const picture of pictures) {
    const file = await store.file(picture.id);
    if (file) download(file.blob, fileName(picture));
    else toast(`${altOf(picture)} is not here any more.`);
  }
}

/** @param {Picture} picture */
export function fileName(picture) {
  const ending = { "image/jpeg": "jpg", "image/webp": "webp" }[picture.type] ?? "png";
  const frame = picture.film ? `-${String(picture.film.index).padStart(2, "0")}` : "";
  return `${slug(picture.title)}${picture.seed === undefined ? "" : `-${picture.seed}`}${frame}.${ending}`;
}
