// A mask that is painted: alpha says where a picture is to be repainted. Drawing, undo, files; no page.

import { pngOf } from "./bytes.js";
import { h } from "./dom.js";

const HALF = 128; // alpha, or grey, from which on a pixel is repainted
const UNDO_BYTES = 32 * 2 ** 20;

export class Mask {
  /** @type {Uint8Array[]} */
  #before = [];
  /** @type {Uint8Array[]} */
  #after = [];

  /** @param {number} width @param {number} height pixels, those of the picture */
  constructor(width, height) {
    this.canvas = h("canvas", { width, height });
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { willReadFrequently: true }));
    this.context.lineCap = this.context.lineJoin = "round";
  }

  get canUndo() {
    return this.#before.length > 0;
  }

  get canRedo() {
    return this.#after.length > 0;
  }

  /** Whether anything is to be repainted. */
  get empty() {
    return !this.#alpha().some((alpha) => alpha >= HALF);
  }

  /** What follows can be undone as one. */
  begin() {
    this.#before.push(this.#alpha());
    const most = Math.max(4, Math.floor(UNDO_BYTES / (this.canvas.width * this.canvas.height)));
    if (this.#before.length > most) this.#before.shift();
    this.#after = [];
  }

  /**
   * A line of a round brush.
   * @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 pixels of the picture
   * @param {number} size its width
   * @param {boolean} erases
   */
  line(x0, y0, x1, y1, size, erases) {
    this.context.globalCompositeOperation = erases ? "destination-out" : "source-over";
    this.context.lineWidth = size;
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1 + 0.01, y1);
    this.context.stroke();
    this.context.globalCompositeOperation = "source-over";
  }

  undo() {
    this.#swap(this.#before, this.#after);
  }

  redo() {
    this.#swap(this.#after, this.#before);
  }

  clear() {
    this.begin();
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  invert() {
    this.begin();
    this.#set(this.#alpha().map((alpha) => (alpha >= HALF ? 0 : 255)));
  }

  /** Takes a mask from a file, light where to repaint. @param {Blob} file */
  async load(file) {
    const bitmap = await createImageBitmap(file);
    this.begin();
    const { width, height } = this.canvas;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, width, height);
    this.context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    const { data } = this.context.getImageData(0, 0, width, height);
    this.#set(Uint8Array.from({ length: width * height }, (_, at) => (0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2] >= HALF ? 255 : 0)));
  }

  /** The mask as the gateway has them: white where to repaint, black elsewhere. @returns {Promise<Blob>} a PNG */
  file() {
    const { width, height } = this.canvas;
    const canvas = h("canvas", { width, height });
    const context = canvas.getContext("2d");
    const image = new ImageData(width, height);
    this.#alpha().forEach((alpha, at) => image.data.set(alpha >= HALF ? [255, 255, 255, 255] : [0, 0, 0, 255], 4 * at));
    context?.putImageData(image, 0, 0);
    return pngOf(canvas);
  }

  /** Where it repaints, fully opaque; nothing elsewhere. */
  sharp() {
    const canvas = h("canvas", { width: this.canvas.width, height: this.canvas.height });
    const image = new ImageData(canvas.width, canvas.height);
    this.#alpha().forEach((alpha, at) => (image.data[4 * at + 3] = alpha >= HALF ? 255 : 0));
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    return canvas;
  }

  /** @returns {Uint8Array} */
  #alpha() {
    const { width, height } = this.canvas;
    const { data } = this.context.getImageData(0, 0, width, height);
    return Uint8Array.from({ length: width * height }, (_, at) => data[4 * at + 3]);
  }

  /** @param {Uint8Array} alpha */
  #set(alpha) {
    const image = new ImageData(this.canvas.width, this.canvas.height);
    alpha.forEach((value, at) => (image.data[4 * at + 3] = value));
    this.context.putImageData(image, 0, 0);
  }

  /** @param {Uint8Array[]} from @param {Uint8Array[]} to */
  #swap(from, to) {
    const next = from.pop();
    if (!next) return;
    to.push(this.#alpha());
    this.#set(next);
  }
}
