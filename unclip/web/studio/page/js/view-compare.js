// Two pictures side by side, or one over the other, and how their recipes differ.

import { h, slider } from "./dom.js";
import { factsOf, KINDS } from "./recipes.js";
import { store } from "./store.js";
import { altOf, imageOf, pageOf } from "./tiles.js";

/** @param {string} one @param {string} other @returns {import("./types").View} */
export function compareView(one, other) {
  const pictures = [store.get(one), store.get(other)].flatMap((picture) => picture ?? []);
  if (pictures.length !== 2)
    return { element: h("div", { class: "view" }, h("h1", {}, "Compare"), h("p", {}, "One of these pictures is not in this browser.")), title: "Compare" };
  const [left, right] = pictures;
  const over = imageOf(right, { class: "over" });
  const wipe = slider({
    label: "How much of the second",
    min: 0,
    max: 100,
    step: 1,
    value: 50,
    said: (value) => `${value} %`,
    changed: (value) => (over.style.clipPath = `inset(0 0 0 ${100 - value}%)`),
  });
  over.style.clipPath = "inset(0 0 0 50%)";
  const both = h("div", { class: "stage overlaid" }, imageOf(left), over);
  const element = h(
    "div",
    { class: "view" },
    h("h1", {}, "Compare"),
    h("div", { class: "pair" }, ...pictures.map((picture) => h("figure", {}, h("a", { class: "stage", href: pageOf(picture.id) }, imageOf(picture)), h("figcaption", {}, altOf(picture))))),
    h("section", { class: "panel", "aria-label": "One over the other" }, h("h2", {}, "One over the other"), both, wipe.element),
    h("section", { class: "panel" }, h("h2", {}, "What differs"), differences(left, right)),
  );
  return { element, title: "Compare" };
}

/** @param {import("./types").Picture} picture @returns {Map<string, string>} */
function facts(picture) {
  const made = picture.recipe ? factsOf(picture.recipe) : [];
  return new Map([["Kind", KINDS[picture.kind]], ...made, ["Model", (picture.modelVersion ?? "").slice(0, 12)]]);
}

/** @param {import("./types").Picture} left @param {import("./types").Picture} right */
function differences(left, right) {
  const [one, other] = [facts(left), facts(right)];
  const names = [...new Set([...one.keys(), ...other.keys()])].filter((name) => one.get(name) !== other.get(name));
  if (!names.length) return h("p", {}, "Nothing: their recipes are the same.");
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Setting"), h("th", { scope: "col" }, "First"), h("th", { scope: "col" }, "Second"))),
    h("tbody", {}, ...names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, one.get(name) || "–"), h("td", {}, other.get(name) || "–")))),
  );
}
