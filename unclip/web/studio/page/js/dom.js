// Elements, and what is said to those who do not see them.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children. Names that begin with "on" are listeners, "class" and what has a dash are
 * attributes; what is false or undefined is left out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "for" || name === "role" || name === "list" || name.includes("-"))
      element.setAttribute(name, value === true ? "" : String(value));
    else Reflect.set(element, name, value);
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/** Paths of 20 by 20 icons, drawn as lines. */
const ICONS = {
  dice: "M3 3h14v14H3zM7 7h.01M13 7h.01M10 10h.01M7 13h.01M13 13h.01",
  lock: "M5 9h10v8H5zM7 9V6a3 3 0 0 1 6 0v3",
  unlock: "M5 9h10v8H5zM7 9V6a3 3 0 0 1 5.8-1",
  close: "M5 5l10 10M15 5L5 15",
  play: "M6 4l10 6-10 6z",
  pause: "M7 4v12M13 4v12",
  save: "M10 3v9M6 9l4 4 4-4M4 16h12",
  undo: "M4 8h8a4 4 0 0 1 0 8H8M4 8l4-4M4 8l4 4",
  redo: "M16 8H8a4 4 0 0 0 0 8h4M16 8l-4-4M16 8l-4 4",
  brush: "M4 16c3 0 4-1 4-3l7-9 1 1-7 9c-2 0-3 0-3 0",
  eraser: "M3 13l8-8 5 5-6 6H6zM8 8l5 5M9 16h8",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  key: "M12.5 7.5m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0M10 10l-6 6M6 14l2 2",
  folder: "M3 5h5l2 2h7v9H3z",
  again: "M16 10a6 6 0 1 1-2-4.5M16 3v3.5h-3.5",
  trash: "M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11",
};

/**
 * A drawing that says nothing beside its button's name.
 * @param {keyof typeof ICONS} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }))
    drawing.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  drawing.append(path);
  return drawing;
}

/**
 * A button with a drawing, which is called `label`.
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {Record<string, any>} properties
 */
export function iconButton(name, label, properties) {
  return h("button", { type: "button", class: "quiet square", "aria-label": label, title: label, ...properties }, icon(name));
}

/**
 * Says something to screen readers.
 * @param {string} text
 */
export function announce(text) {
  const region = document.getElementById("announcer");
  if (region && region.textContent !== text) region.textContent = text;
}

/**
 * Says something to everybody, for some seconds.
 * @param {string} text
 */
export function toast(text) {
  const place = document.getElementById("toasts");
  if (!place) return;
  const note = h("p", { class: "toast" }, text);
  place.append(note);
  setTimeout(() => note.remove(), 6000);
}

let numbers = 0;

/** A name that no other element has. @returns {string} */
export function unique() {
  numbers += 1;
  return `e${numbers}`;
}

/**
 * A field with its label before it.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {string} [hint]
 */
export function field(label, control, hint) {
  control.id ||= unique();
  const told = hint ? h("small", { id: `${control.id}-hint` }, hint) : null;
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, told);
}

/**
 * A slider with its value beside its label.
 * @param {{ label: string, min: number, max: number, step: number, value: number, hint?: string,
 *   said?: (value: number) => string, changed?: (value: number) => void }} options
 */
export function slider({ label, min, max, step, value, hint, said = (each) => String(each), changed }) {
  const shown = h("output", {}, said(value));
  const input = h("input", { type: "range", min, max, step, id: unique() });
  input.value = String(value);
  const told = () => {
    shown.textContent = said(Number(input.value));
    input.setAttribute("aria-valuetext", said(Number(input.value)));
  };
  input.addEventListener("input", () => {
    told();
    changed?.(Number(input.value));
  });
  told();
  shown.setAttribute("for", input.id);
  const element = h(
    "div",
    { class: "field" },
    h("div", { class: "split" }, h("label", { for: input.id }, label), shown),
    input,
    hint ? h("small", {}, hint) : null,
  );
  return {
    element,
    input,
    get value() {
      return Number(input.value);
    },
    set value(next) {
      input.value = String(next);
      told();
    },
  };
}

/**
 * A whole number, or nothing.
 * @param {HTMLInputElement} input
 */
export function numberIn(input) {
  return input.value.trim() === "" || !Number.isFinite(Number(input.value)) ? undefined : Number(input.value);
}

/**
 * Lets the browser save a file.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Part of a file's name that says `text`.
 * @param {string} text
 */
export function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40) || "picture";
}
