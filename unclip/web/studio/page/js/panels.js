// What can be done to a picture, each a form beside it: Vary, Text diff, Interpolate. Edit is in edit.js.

import { openFile } from "./app.js";
import { imageMessage } from "./bytes.js";
import { MAX_CAPTION } from "./contract.js";
import { field, h, slider } from "./dom.js";
import { advanced, countField, plain, seedField } from "./forms.js";
import { jobs } from "./jobs.js";
import { askedOf } from "./recipes.js";
import { steps } from "./scrubber.js";
import { store } from "./store.js";
import { imageOf, pick } from "./tiles.js";

/** @typedef {import("./types").Picture} Picture */
/** @typedef {import("./jobs.js").Job} Job */
/**
 * The page of a picture, for its panels. show: what is in the picture's place, null for the picture; below: what is under it.
 * @typedef {{ picture: Picture, query: URLSearchParams, show: (element: HTMLElement | null, below?: HTMLElement | null) => void,
 *   film: (job: Job, name: string) => void }} Page
 */
/** @typedef {{ element: HTMLElement, chosen?: () => void, left?: () => void, dispose?: () => void }} Panel */

const VARIED = "Variations of ";
const DRAFTS = /** @type {Record<string, any>} */ ({});

/** What was said of a picture before, kept while the tab is open. @param {string} key @returns {Record<string, any>} */
export function draftOf(key) {
  return (DRAFTS[key] ??= {});
}

/** The picture's file as a message. @param {Picture} picture */
export async function sourceOf(picture) {
  const file = await store.file(picture.id);
  if (!file) throw new Error("This picture is not in this browser any more.");
  return imageMessage(file.blob);
}

/**
 * A form with a button that begins work.
 * @param {string} action
 * @param {string} told what it does, in a sentence
 * @param {(HTMLElement | null)[]} content
 * @param {() => Promise<string | undefined>} begin gives what is missing, if anything is
 */
export function actionForm(action, told, content, begin) {
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: "primary" }, action);
  return h(
    "form",
    {
      oninput: () => (wrong.hidden = true), // what was missing may be there now
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        let missing;
        try {
          missing = await begin();
        } catch (error) {
          missing = error instanceof Error ? error.message : String(error);
        }
        wrong.textContent = missing ?? "";
        wrong.hidden = !missing;
      },
    },
    h("p", { class: "muted" }, told),
    ...content,
    wrong,
    h("div", { class: "row end" }, go),
  );
}

/** @param {Page} page @returns {Panel} */
export function varyPanel({ picture }) {
  const eta = slider({
    label: "How far to stray, η",
    min: 0,
    max: 1,
    step: 0.05,
    value: 0.8,
    said: (value) => (value === 0 ? "0, the picture itself" : value.toFixed(2)),
  });
  const count = countField(4);
  const seed = seedField();
  const random = h("input", { type: "checkbox" });
  const more = advanced(["size", "decoder", "upsampler"]);
  const fresh = field("Begin with fresh noise: keep the gist alone", random);
  fresh.classList.add("check");
  more.element.querySelector(".advanced")?.prepend(fresh);
  random.addEventListener("change", () => (eta.input.disabled = random.checked));
  const element = actionForm("Vary", "Other pictures of the same gist.", [eta.element, h("div", { class: "row options" }, count.element, seed.element), more.element], async () => {
    const asked = { image: await sourceOf(picture), seed: seed.value, imageCount: count.value, ...more.read() };
    const how = random.checked ? { start: "START_RANDOM" } : { eta: eta.value };
    const job = jobs.start({ vary: plain({ ...asked, ...how }) }, { about: [picture.id], title: `${VARIED}${picture.title.replace(VARIED, "")}` });
    seed.used(askedOf(job.request).seed ?? "");
    return undefined;
  });
  return { element };
}

/** @param {Page} page @returns {Panel} */
export function textDiffPanel({ picture, film }) {
  const said = draftOf(`diff ${picture.id}`);
  const before = h("input", { type: "text", maxLength: MAX_CAPTION, value: said.before ?? captionOf(picture), placeholder: "a red apple" });
  const after = h("input", { type: "text", maxLength: MAX_CAPTION, value: said.after ?? "", placeholder: "a green apple" });
  const far = slider({ label: "How far, θ", min: 0.05, max: 1, step: 0.05, value: 0.5, said: (value) => value.toFixed(2) });
  const count = slider({ label: "Frames", min: 2, max: 33, step: 1, value: 9 });
  const seed = seedField();
  const more = advanced(["size", "decoder", "upsampler"]);
  const content = [field("What it shows", before), field("What it should show", after), far.element, count.element, seed.element, more.element];
  const element = actionForm("Transform", "The picture on its way from one caption to another, frame by frame.", content, async () => {
    if (!after.value.trim()) {
      after.focus();
      return "Say what the picture should show.";
    }
    const thetas = steps(0, far.value, count.value);
    const words = { before: before.value.trim(), after: after.value.trim() };
    const textDiff = plain({ image: await sourceOf(picture), ...words, thetas, seed: seed.value, ...more.read() });
    const job = jobs.start({ textDiff }, { about: [picture.id], film: { symbol: "θ", values: thetas } });
    seed.used(askedOf(job.request).seed ?? "");
    film(job, "Text diff, θ");
    return undefined;
  });
  return { element, dispose: () => Object.assign(said, { before: before.value, after: after.value }) };
}

/** @param {Page} page @returns {Panel} */
export function interpolatePanel({ picture, query, film }) {
  let other = store.get(query.get("to") ?? "");
  const caption = h("input", { type: "text", maxLength: MAX_CAPTION, value: query.get("caption") ?? "", placeholder: "a 3d emoji of a robot" });
  const shown = h("div", { class: "other" });
  const choose = h("button", { type: "button" }, "Choose a picture…");
  const count = slider({ label: "Frames", min: 2, max: 33, step: 1, value: 9 });
  const seed = seedField();
  const more = advanced(["size", "prior", "decoder", "upsampler"]);
  const draw = () => {
    shown.replaceChildren();
    if (other) shown.append(imageOf(other), h("span", { class: "grow" }, other.title), h("button", { type: "button", class: "quiet", onclick: () => ((other = undefined), draw()) }, "Take away"));
    shown.hidden = !other;
    caption.disabled = Boolean(other);
  };
  choose.addEventListener("click", async () => {
    other = (await pick("Interpolate to", openFile)) ?? other;
    draw();
    choose.focus();
  });
  draw();
  const content = [
    h("div", { class: "field" }, h("span", { class: "label" }, "To another picture"), shown, choose),
    field("or to a caption", caption),
    count.element,
    seed.element,
    more.element,
  ];
  const element = actionForm("Interpolate", "Pictures on the way to another one, or to a caption. Also begun by dragging one picture onto another.", content, async () => {
    const towards = caption.value.trim();
    if (!other && !towards) return "Choose a picture to go to, or say a caption.";
    const ts = steps(0, 1, count.value);
    const { prior, ...rest } = more.read();
    const to = other ? { toImage: await sourceOf(other) } : { toCaption: towards, prior };
    const interpolate = plain({ image: await sourceOf(picture), ...to, ts, seed: seed.value, ...rest });
    const title = `${picture.title} → ${other ? other.title : towards}`;
    const job = jobs.start({ interpolate }, { about: [picture.id], title, film: { symbol: "t", values: ts } });
    seed.used(askedOf(job.request).seed ?? "");
    film(job, "Interpolation, t");
    return undefined;
  });
  return { element };
}

/** What a picture shows, as far as it says. @param {Picture} picture @returns {string} */
export function captionOf(picture) {
  if (!picture.recipe) return "";
  const asked = askedOf(picture.recipe);
  return asked.caption || asked.after || asked.toCaption || "";
}
