// What can be said of a request: seed, number of pictures, and how each stage samples.

import { app, isFast } from "./app.js";
import { MAX_CAPTION, MAX_RANKED, QUALITIES, RANGES, SAMPLERS } from "./contract.js";
import { field, h, iconButton, numberIn, unique } from "./dom.js";
import { qualityName, samplerName } from "./recipes.js";

/** @typedef {import("./types").Asked} Asked */

const SEEDS = 2 ** 32;

/** A seed: chosen at random unless one is given, thrown, recalled or locked. */
export function seedField() {
  const input = h("input", { type: "text", inputMode: "numeric", placeholder: "random", id: unique(), autocomplete: "off" });
  const read = () => input.value.trim();
  const check = () => input.setCustomValidity(!read() || isSeed(read()) ? "" : "A seed is a whole number from −2⁶³ to 2⁶³ − 1. Leave it empty for a random one.");
  input.addEventListener("input", check);
  let last = "";
  const give = (/** @type {string} */ seed) => {
    input.value = seed;
    check();
  };
  const lock = iconButton("unlock", "Keep this seed", { "aria-pressed": "false" });
  const dice = iconButton("dice", "Throw a seed", { onclick: () => give(String(Math.floor(Math.random() * SEEDS))) });
  const recall = iconButton("again", "The seed before", { disabled: true, onclick: () => give(last) });
  lock.addEventListener("click", () => {
    const locked = lock.getAttribute("aria-pressed") !== "true";
    lock.setAttribute("aria-pressed", String(locked));
    if (locked && !input.value) give(last);
  });
  const element = h("div", { class: "field" }, h("label", { for: input.id }, "Seed"), h("div", { class: "seed" }, input, dice, recall, lock));
  return {
    element,
    input,
    /** The seed to ask for, undefined for any. @returns {string | undefined} */
    get value() {
      return isSeed(read()) ? read() : undefined;
    },
    /** What became of it. @param {string} seed */
    used(seed) {
      last = seed;
      recall.disabled = false;
      give(lock.getAttribute("aria-pressed") === "true" ? seed : "");
    },
  };
}

/** Whether the contract takes it: 64 bits, signed. @param {string} text */
function isSeed(text) {
  return /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text);
}

/** How many pictures. @param {number} value @param {string} [label] */
export function countField(value, label = "Pictures") {
  const input = h("input", { type: "number", ...limits(RANGES.imageCount), step: "1", required: true, id: unique() });
  input.value = String(value);
  const by = (/** @type {number} */ change) => () => (input.value = String(Math.min(RANGES.imageCount.max, Math.max(RANGES.imageCount.min, (numberIn(input) ?? 1) + change))));
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    h("div", { class: "number" }, iconButton("minus", "One less", { onclick: by(-1) }), input, iconButton("plus", "One more", { onclick: by(1) })),
  );
  return {
    element,
    input,
    get value() {
      return numberIn(input) ?? 1;
    },
  };
}

/**
 * Settings that most people leave alone. What is empty takes the model's default, which is shown in its place as soon
 * as it is known.
 * @param {("negativeCaption" | "candidates" | "quality" | "priorCandidates" | "resampling" | "size" | "prior" | "decoder" | "upsampler")[]} names
 */
export function advanced(names) {
  /** @type {(() => Asked)[]} */
  const readers = [];
  /** @type {(() => void)[]} */
  const tellers = [];
  const body = h("div", { class: "advanced" });
  const number = (/** @type {string} */ label, /** @type {Record<string, any>} */ more, /** @type {string} */ hint = "") => {
    const input = h("input", { type: "number", ...more });
    body.append(field(label, input, hint));
    return input;
  };
  /** What was said. @returns {Asked} */
  const read = () => plain(Object.assign({}, ...readers.map((reader) => reader())));
  for (const name of names) {
    if (name === "negativeCaption") {
      const input = h("input", { type: "text", maxLength: MAX_CAPTION });
      body.append(field("Steer away from", input));
      readers.push(() => (input.value.trim() ? { negativeCaption: input.value.trim() } : {}));
    } else if (name === "candidates") {
      const input = number("Best of", { min: 1, max: MAX_RANKED, placeholder: "no ranking" }, "Makes so many, keeps those closest to the caption.");
      readers.push(() => ({ candidates: numberIn(input) }));
    } else if (name === "quality") {
      const usual = h("option", { value: "" });
      const quality = h("select", {}, usual, ...QUALITIES.map((each) => h("option", { value: each }, qualityName(each))));
      const label = field("Quality", quality, "Fast is painted in a few steps, and steered away from nothing.");
      body.append(label);
      tellers.push(() => {
        usual.textContent = `Default${app.model?.quality ? ` (${qualityName(app.model.quality)})` : ""}`;
        label.hidden = quality.disabled = !app.model?.quality;
      });
      readers.push(() => (quality.disabled || !quality.value ? {} : { quality: quality.value }));
    } else if (name === "priorCandidates") {
      const input = number("Prior candidates", { ...RANGES.priorCandidates, placeholder: "2" });
      readers.push(() => ({ priorCandidates: numberIn(input) }));
    } else if (name === "resampling") {
      const input = number("Resampling", { ...RANGES.resampling, placeholder: "2" }, "More smooth the seams, and take longer.");
      readers.push(() => ({ resampling: numberIn(input) }));
    } else if (name === "size") {
      const input = number("Size", { ...RANGES.size }, "Pixels a side.");
      const shape = shapeFields();
      body.append(shape.element);
      tellers.push(() => {
        input.placeholder = String(app.side || "");
        input.disabled = Boolean(app.sizes);
        if (input.parentElement) input.parentElement.hidden = input.disabled;
        shape.tell();
      });
      readers.push(() => (app.sizes ? shape.read() : { size: numberIn(input) }));
    } else {
      const stage = stageFields(name);
      body.append(stage.element);
      readers.push(stage.read);
      tellers.push(() => stage.tell(names.includes("quality") && isFast(read())));
    }
  }
  const element = h("details", { class: "fold" }, h("summary", {}, "Advanced"), body);
  // What is wrong is said at its field, which must be seen for that.
  element.addEventListener("invalid", () => (element.open = true), true);
  const tell = () => tellers.forEach((each) => each());
  tell();
  app.addEventListener("model", () => tell());
  body.addEventListener("input", () => tell());
  return { element, read };
}

/** Width and height of what is painted, where the model has a choice: both or neither. */
function shapeFields() {
  const [width, height] = [0, 1].map(() => h("input", { type: "number" }));
  const hint = h("small", { id: unique() });
  const element = h("fieldset", {}, h("legend", {}, "Size"), field("Width", width), field("Height", height), hint);
  const read = () => ({ width: numberIn(width), height: numberIn(height) });
  const check = () => {
    const [said, most] = [read(), Number(app.sizes?.maxPixels ?? Infinity)];
    const [lacking, given] = said.width === undefined ? [width, said.height] : [height, said.width];
    for (const input of [width, height]) input.setCustomValidity("");
    if (said.width !== undefined && said.height !== undefined) {
      if (said.width * said.height > most) height.setCustomValidity(`Together they may have ${most.toLocaleString()} pixels.`);
    } else if (given !== undefined) lacking.setCustomValidity("Say both, or neither.");
  };
  const tell = () => {
    const sizes = app.sizes;
    element.hidden = !sizes;
    for (const input of [width, height]) {
      input.disabled = !sizes;
      input.placeholder = String(app.side || "");
      if (sizes) Object.assign(input, { min: String(sizes.smallest), max: String(sizes.largest), step: String(sizes.multiple) });
    }
    hint.textContent = sizes ? `Multiples of ${sizes.multiple} from ${sizes.smallest} to ${sizes.largest} pixels.` : "";
    check();
  };
  for (const input of [width, height]) input.addEventListener("input", check);
  return { element, read, tell };
}

/** @param {"prior" | "decoder" | "upsampler"} name */
function stageFields(name) {
  const shown = (/** @type {number | undefined} */ value) => (value === undefined ? "default" : String(Number(value.toFixed(3))));
  const usual = h("option", { value: "" });
  const sampler = h("select", {}, usual, ...SAMPLERS.map((each) => h("option", { value: each }, samplerName(each))));
  const steps = h("input", { type: "number", ...limits(RANGES.steps) });
  const guidance = h("input", { type: "number", ...limits(RANGES.guidanceScale), step: "any" });
  const tell = (/** @type {boolean} */ fast) => {
    const stage = app.model?.stages?.find((stage) => stage.stage === `STAGE_${name.toUpperCase()}`);
    const defaults = (fast && stage?.fast) || stage?.defaults || {};
    usual.textContent = `Default${defaults.sampler ? ` (${samplerName(defaults.sampler)})` : ""}`;
    steps.placeholder = shown(defaults.steps);
    guidance.placeholder = shown(defaults.guidanceScale);
  };
  const element = h(
    "fieldset",
    {},
    h("legend", {}, name[0].toUpperCase() + name.slice(1)),
    field("Sampler", sampler),
    field("Steps", steps),
    name === "upsampler" ? null : field("Guidance", guidance),
  );
  const read = () => {
    const said = plain({ sampler: sampler.value || undefined, steps: numberIn(steps), guidanceScale: numberIn(guidance) });
    return Object.keys(said).length ? { [name]: said } : {};
  };
  return { element, read, tell };
}

/** As an input has them. @param {{ min: number, max: number }} range */
function limits({ min, max }) {
  return { min: String(min), max: String(max) };
}

/** Without what is undefined. @template {object} T @param {T} values @returns {T} */
export function plain(values) {
  return /** @type {T} */ (Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)));
}
