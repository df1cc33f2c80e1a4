// What a picture was made from, as a tree by the digests in recipes; and what was made from it.

import { h } from "./dom.js";
import { KINDS, sourcesOf } from "./recipes.js";
import { covers, store } from "./store.js";
import { altOf, imageOf, pageOf } from "./tiles.js";

/** @typedef {import("./types").Picture} Picture */

const DEPTH = 12;
const MOST = 40; // pictures that were made of one
const FIELDS = { image: "of", toImage: "to", mask: "masked by" };

/** @param {Picture} picture */
export async function lineage(picture) {
  const parents = await parentsOf(picture, DEPTH);
  const made = covers(store.all.filter((each) => each.id !== picture.id && [...each.sources, ...(each.parents ?? [])].includes(picture.id)));
  return h(
    "div",
    { class: "lineage" },
    h("h3", {}, "Made from"),
    parents ?? h("p", { class: "muted" }, picture.recipe ? "Its caption alone." : "Opened from a file."),
    made.length ? h("h3", {}, "Made from it") : null,
    made.length ? h("ul", { class: "row tight" }, ...made.slice(0, MOST).map((each) => h("li", {}, h("a", { class: "small", href: pageOf(each.id), title: altOf(each) }, imageOf(each))))) : null,
  );
}

/** @param {Picture} picture @param {number} depth @returns {Promise<HTMLElement | null>} */
async function parentsOf(picture, depth) {
  const items = [];
  if (picture.terms)
    for (const term of picture.terms) {
      const known = store.get(term.picture ?? "");
      items.push(h("li", {}, h("span", { class: "muted" }, term.sign < 0 ? "−" : "+"), known ? small(known) : h("span", {}, term.caption ? `“${term.caption}”` : "a picture that is not here")));
    }
  for (const { field, digest } of picture.recipe ? sourcesOf(picture.recipe, picture.sources) : []) items.push(await parent(field, digest, depth));
  return items.length ? h("ul", { class: "tree" }, ...items) : null;
}

/** @param {"image" | "toImage" | "mask"} field @param {string} digest @param {number} depth */
async function parent(field, digest, depth) {
  const file = await store.file(digest);
  const known = store.get(digest) ?? store.get(file?.role === "canvas" ? (file.from ?? "") : "");
  const named = h("span", { class: "muted" }, file?.role === "canvas" ? "of, with room around," : FIELDS[field]);
  if (known) return h("li", {}, named, small(known), depth > 0 ? await parentsOf(known, depth - 1) : null);
  if (!file) return h("li", {}, named, h("span", {}, "a picture that is not here: open it to see it"));
  const image = h("img", { class: "small", alt: file.role === "mask" ? "The mask" : "A picture that was opened" });
  image.src = await store.url(digest);
  return h("li", {}, named, image);
}

/** @param {Picture} picture */
function small(picture) {
  return h("a", { class: "small", href: pageOf(picture.id) }, imageOf(picture), h("span", {}, `${KINDS[picture.kind]}: ${picture.title}`));
}
