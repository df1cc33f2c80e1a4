// Repainting a part of a picture, or going on beyond its edges: brush, eraser, frame.

import { imageMessage, pngOf } from "./bytes.js";
import { MAX_CAPTION } from "./contract.js";
import { download, field, h, icon, iconButton, slider, slug, toast } from "./dom.js";
import { advanced, countField, plain, seedField } from "./forms.js";
import { jobs } from "./jobs.js";
import { Mask } from "./mask.js";
import { actionForm, captionOf, draftOf, sourceOf } from "./panels.js";
import { askedOf } from "./recipes.js";
import { store } from "./store.js";

/** @typedef {"brush" | "eraser" | "move"} Tool */

const DRAWN = 768; // pixels a side of what is painted on, about
const STRIPE = 6; // pixels of it: dark and light, so that some of what is to be repainted is seen on any colour

/** @param {import("./panels.js").Page} page @returns {import("./panels.js").Panel} */
export function editPanel({ picture, show }) {
  const said = draftOf(`edit ${picture.id}`);
  /** @type {Mask} */
  const mask = (said.mask ??= new Mask(picture.width, picture.height));
  const frame = (said.frame ??= { scale: 1, x: 0.5, y: 0.5 }); // x, y: where the picture is in the room left, 0 to 1
  /** @type {Tool} */
  let tool = "brush";
  const cursor = { x: picture.width / 2, y: picture.height / 2, shown: false, down: false };
  /** @type {ImageBitmap | undefined} */
  let bitmap;
  const canvas = h("canvas", {
    class: "paint pixels",
    tabIndex: 0,
    role: "application",
    "aria-label": "The picture to paint on. Arrow keys move the brush, space paints, control and Z undoes.",
  });
  const context = canvas.getContext("2d");
  const size = slider({ label: "Brush", min: 2, max: Math.max(16, Math.round(picture.width / 2)), step: 1, value: Math.max(4, Math.round(picture.width / 8)), said: (value) => `${value} px`, changed: () => draw() });
  const zoom = slider({
    label: "Room around it",
    min: 1,
    max: 2,
    step: 0.05,
    value: frame.scale,
    said: (value) => (value === 1 ? "none" : `${Math.round((value - 1) * 100)} %`),
    changed(value) {
      frame.scale = value;
      act(() => choose(value > 1 ? "move" : "brush"));
    },
  });
  const tools = /** @type {Record<Tool, HTMLButtonElement>} */ ({
    brush: h("button", { type: "button", onclick: () => choose("brush") }, icon("brush"), "Brush"),
    eraser: h("button", { type: "button", onclick: () => choose("eraser") }, icon("eraser"), "Eraser"),
    move: h("button", { type: "button", onclick: () => choose("move") }, "Move"),
  });
  const undo = iconButton("undo", "Undo", { onclick: () => act(() => mask.undo()) });
  const redo = iconButton("redo", "Redo", { onclick: () => act(() => mask.redo()) });
  const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", class: "hidden", tabIndex: -1, "aria-label": "Mask file", onchange: load });
  const below = h(
    "div",
    { class: "tools" },
    h("div", { class: "row tight", role: "toolbar", "aria-label": "Tools" }, ...Object.values(tools), undo, redo),
    size.element,
    zoom.element,
    h(
      "div",
      { class: "row tight" },
      h("button", { type: "button", class: "quiet", onclick: () => act(() => mask.clear()) }, "Clear"),
      h("button", { type: "button", class: "quiet", onclick: () => act(() => mask.invert()) }, "Invert"),
      h("button", { type: "button", class: "quiet", onclick: () => file.click() }, "Load mask…"),
      h("button", { type: "button", class: "quiet", onclick: save }, "Save mask"),
      file,
    ),
  );

  /** The frame in pixels, and where the picture is in it. */
  function place() {
    const { width: wide = 1, height: high = 1 } = more.read(); // of what is painted: the frame has its shape
    const around = [Math.max(picture.width, (picture.height * wide) / high), Math.max(picture.height, (picture.width * high) / wide)];
    const [width, height] = frame.scale > 1 ? around.map((side) => Math.round(side * frame.scale)) : [picture.width, picture.height];
    return { width, height, x: Math.round((width - picture.width) * frame.x), y: Math.round((height - picture.height) * frame.y) };
  }

  function draw() {
    const { width, height, x, y } = place();
    // Drawn larger than it is, so that the brush is round where the picture's pixels are large.
    const larger = Math.max(1, Math.round(DRAWN / Math.max(width, height)));
    const [wide, high] = [width * larger, height * larger];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    tools.move.hidden = frame.scale === 1;
    undo.disabled = !mask.canUndo;
    redo.disabled = !mask.canRedo;
    if (!context || !bitmap) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, wide, high);
    context.fillStyle = striped(context);
    context.fillRect(0, 0, wide, high);
    context.clearRect(x * larger, y * larger, picture.width * larger, picture.height * larger);
    context.drawImage(bitmap, x * larger, y * larger, picture.width * larger, picture.height * larger);
    context.drawImage(tinted(mask, larger), x * larger, y * larger);
    context.setTransform(larger, 0, 0, larger, 0, 0);
    if (!cursor.shown || tool === "move") return;
    for (const [colour, line] of /** @type {[string, number][]} */ ([["#000", 4], ["#fff", 2]])) {
      context.lineWidth = line / larger;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x + cursor.x, y + cursor.y, size.value / 2, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** @param {() => void} change */
  function act(change) {
    change();
    draw();
    element.dispatchEvent(new Event("input"));
  }

  /** @param {Tool} next */
  function choose(next) {
    tool = next;
    canvas.dataset.tool = next;
    for (const [name, button] of Object.entries(tools)) button.setAttribute("aria-pressed", String(name === next));
  }

  /** Where an event is, in the picture's pixels. @param {PointerEvent} event */
  function at(event) {
    const bounds = canvas.getBoundingClientRect();
    const { width, height, x, y } = place();
    return { x: ((event.clientX - bounds.left) * width) / bounds.width - x, y: ((event.clientY - bounds.top) * height) / bounds.height - y };
  }

  /** @param {number} x @param {number} y pixels by which the picture moves in its frame */
  function move(x, y) {
    const { width, height } = place();
    const room = { x: width - picture.width, y: height - picture.height };
    if (room.x) frame.x = Math.min(1, Math.max(0, frame.x + x / room.x));
    if (room.y) frame.y = Math.min(1, Math.max(0, frame.y + y / room.y));
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    Object.assign(cursor, at(event), { down: true, shown: true });
    if (tool !== "move") {
      mask.begin();
      mask.line(cursor.x, cursor.y, cursor.x, cursor.y, size.value, tool === "eraser");
    }
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    const next = at(event);
    if (cursor.down && tool === "move") move(next.x - cursor.x, next.y - cursor.y);
    else if (cursor.down) mask.line(cursor.x, cursor.y, next.x, next.y, size.value, tool === "eraser");
    if (!(cursor.down && tool === "move")) Object.assign(cursor, next);
    cursor.shown = true;
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => act(() => (cursor.down = false)));
  canvas.addEventListener("pointerleave", () => {
    cursor.shown = false;
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : Math.max(1, size.value / 4);
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    const before = { ...cursor };
    if (by && tool === "move") move(by[0], by[1]);
    else if (by) {
      cursor.x = Math.min(picture.width, Math.max(0, cursor.x + by[0]));
      cursor.y = Math.min(picture.height, Math.max(0, cursor.y + by[1]));
      if (cursor.down) mask.line(before.x, before.y, cursor.x, cursor.y, size.value, tool === "eraser");
    } else if (event.key === " " && tool !== "move") {
      if (!cursor.down) {
        mask.begin();
        mask.line(cursor.x, cursor.y, cursor.x, cursor.y, size.value, tool === "eraser");
      }
      cursor.down = true;
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      if (event.shiftKey) mask.redo();
      else mask.undo();
    } else return;
    event.preventDefault();
    cursor.shown = true;
    draw();
  });
  canvas.addEventListener("keyup", (event) => event.key === " " && act(() => (cursor.down = false)));

  // Whoever goes elsewhere with the space bar down lets go of it there.
  canvas.addEventListener("blur", () => cursor.down && act(() => (cursor.down = false)));

  async function load() {
    const [given] = file.files ?? [];
    file.value = "";
    try {
      if (given) await mask.load(given);
    } catch {
      toast(`${given.name} cannot be read as a picture.`);
    }
    act(() => {});
  }

  async function save() {
    download(await mask.file(), `mask-${slug(picture.title)}.png`);
  }

  /** The picture, and what to repaint of it, as an edit has them. */
  async function sources() {
    const { width, height, x, y } = place();
    if (frame.scale === 1) {
      const painted = await mask.file();
      await store.keepFile(painted, { role: "mask", from: picture.id });
      return { image: await sourceOf(picture), mask: await imageMessage(painted) };
    }
    const whole = h("canvas", { width, height });
    const drawing = whole.getContext("2d");
    if (!drawing || !bitmap) throw new Error("The picture cannot be read.");
    drawing.drawImage(bitmap, x, y);
    drawing.globalCompositeOperation = "destination-out";
    drawing.drawImage(mask.sharp(), x, y);
    const png = await pngOf(whole);
    await store.keepFile(png, { role: "canvas", from: picture.id });
    return { image: await imageMessage(png) };
  }

  const caption = h("input", { type: "text", maxLength: MAX_CAPTION, value: said.caption ?? captionOf(picture), placeholder: "a flat emoji of a green apple" });
  const count = countField(2);
  const seed = seedField();
  const more = advanced(["negativeCaption", "candidates", "resampling", "size", "priorCandidates", "prior", "decoder", "upsampler"]);
  const content = [field("What the whole picture should show", caption), h("div", { class: "row options" }, count.element, seed.element), more.element];
  const element = actionForm("Repaint", "Paint over what should change; all else stays as it is, exactly. Or make room around the picture, and have it continued there.", content, async () => {
    if (!caption.value.trim()) {
      caption.focus();
      return "Say what the whole picture should show.";
    }
    if (mask.empty && frame.scale === 1) return "Paint over what should change first, or make room around the picture.";
    const edit = plain({ ...(await sources()), caption: caption.value.trim(), seed: seed.value, imageCount: count.value, ...more.read() });
    const job = jobs.start({ edit }, { about: [picture.id], parents: [picture.id] });
    seed.used(askedOf(job.request).seed ?? "");
    return undefined;
  });

  more.element.addEventListener("input", () => draw());
  choose(tool);
  void store.file(picture.id).then(async (stored) => {
    if (stored) bitmap = await createImageBitmap(stored.blob);
    draw();
  });
  return {
    element,
    chosen: () => (draw(), show(canvas, below)),
    left: () => show(null),
    dispose: () => Object.assign(said, { caption: caption.value }),
  };
}

/** The mask in the stripes of what is to be repainted. @param {Mask} mask @param {number} larger */
function tinted(mask, larger) {
  const canvas = h("canvas", { width: mask.canvas.width * larger, height: mask.canvas.height * larger });
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  context.imageSmoothingEnabled = false;
  context.drawImage(mask.canvas, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = striped(context);
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

/** @type {HTMLCanvasElement | undefined} */
let stripes;

/** @param {CanvasRenderingContext2D} context @returns {CanvasPattern | string} */
function striped(context) {
  if (!stripes) {
    const side = 4 * STRIPE;
    stripes = h("canvas", { width: side, height: side });
    const drawing = stripes.getContext("2d");
    const image = new ImageData(side, side);
    for (let at = 0; at < side * side; at += 1) {
      const dark = Math.floor(((at % side) + Math.floor(at / side)) / (2 * STRIPE)) % 2;
      image.data.set(dark ? [24, 24, 40, 170] : [255, 255, 255, 170], 4 * at);
    }
    drawing?.putImageData(image, 0, 0);
  }
  return context.createPattern(stripes, "repeat") ?? "#888";
}
