// Many pictures on one sheet, each above its words.

import { pngOf } from "./bytes.js";
import { download, h } from "./dom.js";
import { store } from "./store.js";

const MARGIN = 16;
const LINE = 18;
const CELL = 192;
const MOST = 100;

/** Shows the sheet, to be saved. @param {import("./types").Picture[]} pictures */
export async function contactSheet(pictures) {
  const shown = pictures.slice(0, MOST);
  const canvas = await drawn(shown);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Contact sheet of ${shown.length} pictures`);
  const dialog = h(
    "dialog",
    { class: "wide", "aria-label": "Contact sheet", onclose: () => dialog.remove() },
    h(
      "div",
      { class: "split" },
      h("h2", {}, "Contact sheet", shown.length < pictures.length && ` of the first ${MOST} of ${pictures.length}`),
      h(
        "div",
        { class: "row tight" },
        h("button", { type: "button", class: "primary", onclick: async () => download(await pngOf(canvas), "contact-sheet.png") }, "Download"),
        h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      ),
    ),
    h("div", { class: "sheet" }, canvas),
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {import("./types").Picture[]} pictures */
async function drawn(pictures) {
  const columns = Math.min(8, Math.ceil(Math.sqrt(pictures.length)));
  const rows = Math.ceil(pictures.length / columns);
  const height = CELL + 3 * LINE;
  const canvas = h("canvas", { width: MARGIN + columns * (CELL + MARGIN), height: MARGIN + rows * (height + MARGIN) });
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.font = "13px system-ui, sans-serif";
  context.textAlign = "center";
  for (const [at, picture] of pictures.entries()) {
    const file = await store.file(picture.id);
    if (!file) continue;
    const [left, top] = [MARGIN + (at % columns) * (CELL + MARGIN), MARGIN + Math.floor(at / columns) * (height + MARGIN)];
    const bitmap = await createImageBitmap(file.blob);
    const scale = Math.min(CELL / bitmap.width, CELL / bitmap.height);
    const [width, tall] = [bitmap.width * scale, bitmap.height * scale];
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left + (CELL - width) / 2, top + (CELL - tall) / 2, width, tall);
    bitmap.close();
    context.fillStyle = "#202020";
    const seed = picture.seed === undefined ? "" : `seed ${picture.seed}`;
    [...wrapped(context, picture.title, CELL).slice(0, 2), seed].forEach((line, row) => context.fillText(line, left + CELL / 2, top + CELL + LINE * (row + 1)));
  }
  return canvas;
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} width */
function wrapped(context, text, width) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const longer = `${lines[lines.length - 1]} ${word}`.trim();
    if (context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.filter(Boolean);
}
