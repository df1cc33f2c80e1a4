// What all views share: the model, and files that are opened.

import { connection, modelInfo, patiently, post, ApiError } from "./api.js";
import { digestOf, imageMessage, pngOf } from "./bytes.js";
import { FAST_GUIDANCE } from "./contract.js";
import { h, toast } from "./dom.js";
import { kindOf, titleOf } from "./recipes.js";
import { store } from "./store.js";

/** @typedef {import("./types").ModelInfo} ModelInfo */
/** @typedef {import("./types").Picture} Picture */

const LARGE_BYTES = 3 * 2 ** 20;
const LARGE_SIDE = 2048;
const SHRUNK_SIDE = 1024;

/** "model" where the model is another one. */
class App extends EventTarget {
  /** @type {ModelInfo | undefined} */
  model;
  #asking = false;

  /** Asks what the model is, until it is told; and again whenever the server was away. */
  watch() {
    connection.addEventListener("change", () => connection.state !== "ok" && void this.#ask());
    void this.#ask();
  }

  async #ask() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const model = await patiently(() => modelInfo(true), new AbortController().signal);
      const news = model.version !== this.model?.version;
      this.model = model;
      if (news) this.dispatchEvent(new Event("model"));
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error));
    } finally {
      this.#asking = false;
    }
  }

  /** Pixels a side of what the model makes. */
  get side() {
    return this.model?.stages?.find((stage) => stage.stage === "STAGE_UPSAMPLER")?.imageSize ?? 0;
  }

  /** What else it paints, if anything. */
  get sizes() {
    return this.model?.stages?.find((stage) => stage.stage === "STAGE_DECODER")?.sizes;
  }
}

export const app = new App();

/** Whether a Generate that asks so is painted by the decoder's student, as the gateway decides it. @param {import("./types").Asked} asked */
export function isFast({ quality, negativeCaption, decoder = {} }) {
  if (quality || app.model?.quality !== "QUALITY_FAST") return quality === "QUALITY_FAST";
  const { min, max } = FAST_GUIDANCE;
  const { sampler, steps, guidanceScale = min } = decoder;
  return !negativeCaption && !sampler && steps === undefined && guidanceScale >= min && guidanceScale <= max;
}

/**
 * Keeps a picture file: one of ours with its recipe, another as it is, or smaller where it is large.
 * @param {File} file
 * @returns {Promise<Picture | undefined>}
 */
export async function openFile(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    toast(`${file.name} cannot be read as a picture.`);
    return undefined;
  }
  let [blob, width, height] = [/** @type {Blob} */ (file), bitmap.width, bitmap.height];
  const told = await recipeOf(file);
  const known = told ? undefined : store.get(await digestOf(file));
  if (known) {
    bitmap.close();
    return known; // and all that is known of it stays, whoever cannot be asked now
  }
  if (!told && (file.size > LARGE_BYTES || Math.max(width, height) > LARGE_SIDE)) {
    blob = await shrunk(bitmap);
    ({ width, height } = await createImageBitmap(blob));
    toast(`${file.name} is large; it was made smaller, ${width} by ${height} pixels.`);
  }
  bitmap.close();
  const title = file.name.replace(/\.[^.]*$/, "") || "picture";
  const about = { created: Date.now(), width, height, type: blob.type || "image/png", sources: /** @type {string[]} */ ([]) };
  const [picture] = await store.add([
    {
      blob,
      picture: told
        ? { ...about, ...told, kind: kindOf(told.recipe), title: titleOf(told.recipe), sources: told.sourceDigests ?? [], seed: seedOf(told.recipe) }
        : { ...about, kind: "opened", title },
    },
  ]);
  return picture;
}

/** @param {import("./types").StreamRequest} recipe */
function seedOf(recipe) {
  return recipe[kindOf(recipe)]?.seed;
}

/** What a file says of its making; nothing where it says nothing. @param {Blob} file */
async function recipeOf(file) {
  if (file.size > 10 * 2 ** 20) return undefined;
  // Every recipe begins so; of a file without one nobody need be asked.
  if (!new TextDecoder("latin1").decode(await file.arrayBuffer()).includes('"unclip_recipe"')) return undefined;
  try {
    const answer = await post("recipe", await imageMessage(file));
    return /** @type {import("./types").GeneratedImage} */ (await answer.json());
  } catch (error) {
    if (error instanceof ApiError && error.passing) toast("The service cannot be asked for the recipe of this file now.");
    return undefined;
  }
}

/** @param {ImageBitmap} bitmap */
function shrunk(bitmap) {
  const scale = Math.min(1, SHRUNK_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = h("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  if (context) context.imageSmoothingQuality = "high";
  context?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return pngOf(canvas);
}
