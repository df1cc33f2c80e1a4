// A picture made again from its recipe, and whether it is the same.

import { app } from "./app.js";
import { imageMessage } from "./bytes.js";
import { h, toast } from "./dom.js";
import { jobs } from "./jobs.js";
import { askedOf, kindOf, sourcesOf } from "./recipes.js";
import { store } from "./store.js";

/** @typedef {import("./types").Picture} Picture */

/** Begins; raises an error that says what is missing. @param {Picture} picture */
export async function replay(picture) {
  const recipe = picture.recipe;
  if (!recipe) throw new Error("This picture has no recipe.");
  const kind = kindOf(recipe);
  const asked = { ...askedOf(recipe) };
  const missing = [];
  for (const { field, digest } of sourcesOf(recipe, picture.sources)) {
    const file = await store.file(digest);
    if (file) asked[field] = await imageMessage(file.blob);
    else missing.push(field === "mask" ? "its mask" : "a picture that it began with");
  }
  if (missing.length) throw new Error(`Missing is ${missing.join(" and ")}: open that file, then try again.`);
  const job = jobs.start({ [kind]: asked }, { about: [picture.id], title: `${picture.title}, made again` });
  job.addEventListener("picture", (event) => void judge(picture, /** @type {CustomEvent<Picture>} */ (event).detail));
  return job;
}

/** Stages that have another version now than when the picture was made. @param {Picture} picture */
export function otherVersions(picture) {
  const now = Object.fromEntries((app.model?.stages ?? []).map((stage) => [stage.stage.replace("STAGE_", "").toLowerCase(), stage.version]));
  return Object.entries(picture.stageVersions ?? {}).flatMap(([stage, version]) => (now[stage] && now[stage] !== version ? [stage] : []));
}

/** @param {Picture} before @param {Picture} now */
async function judge(before, now) {
  if (before.id === now.id) return toast("Made again: the same file, byte for byte.");
  const gap = await largestDifference(before, now);
  if (gap === undefined) toast("Made again: of another size.");
  else toast(gap ? `Made again: its pixels differ by at most ${gap} of 255.` : "Made again: the same pixels.");
}

/** @param {Picture} one @param {Picture} other */
async function largestDifference(one, other) {
  /** @type {Uint8ClampedArray[]} */
  const pixels = [];
  for (const picture of [one, other]) {
    const file = await store.file(picture.id);
    if (!file) return undefined;
    const bitmap = await createImageBitmap(file.blob);
    const canvas = h("canvas", { width: bitmap.width, height: bitmap.height });
    const context = canvas.getContext("2d");
    context?.drawImage(bitmap, 0, 0);
    pixels.push(context?.getImageData(0, 0, canvas.width, canvas.height).data ?? new Uint8ClampedArray());
  }
  if (pixels[0].length !== pixels[1].length) return undefined;
  let gap = 0;
  pixels[0].forEach((value, at) => (gap = Math.max(gap, Math.abs(value - pixels[1][at]))));
  return gap;
}
