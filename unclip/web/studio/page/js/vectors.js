// Points of CLIP's space, as the client calculates with them: float32, sums as long as their first term.

import { fromBase64, toBase64 } from "./bytes.js";

/** @typedef {import("./types").EmbeddingMessage} EmbeddingMessage */
/** @typedef {{ values: Float32Array, clipSpace: string }} Point */

/** @param {EmbeddingMessage} message @returns {Point} */
export function pointOf(message) {
  const bytes = fromBase64(message.values.data);
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 4);
  values.forEach((_, at) => (values[at] = view.getFloat32(4 * at, true)));
  return { values, clipSpace: message.clipSpace };
}

/** @param {Point} point @returns {EmbeddingMessage} */
export function messageOf({ values, clipSpace }) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, at) => view.setFloat32(4 * at, value, true));
  const data = toBase64(new Uint8Array(view.buffer));
  return { values: { dataType: "DATA_TYPE_FLOAT32", shape: [String(values.length)], data }, clipSpace };
}

/** The distance from the origin. @param {Float32Array} values */
export function lengthOf(values) {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/**
 * The first point, which is added, with the others added or subtracted, as long as the first.
 * @param {{ sign: 1 | -1, point: Point }[]} terms
 * @returns {Point}
 */
export function combine(terms) {
  const first = terms[0].point;
  if (terms.some(({ point }) => point.clipSpace !== first.clipSpace))
    throw new Error("These points are of different CLIPs, and do not add up.");
  const total = Float32Array.from(first.values);
  if (terms.length === 1) return { values: total, clipSpace: first.clipSpace };
  for (const { sign, point } of terms.slice(1)) point.values.forEach((value, at) => (total[at] += sign * value));
  const length = lengthOf(total);
  const factor = length ? lengthOf(first.values) / length : 1;
  return { values: total.map((value) => value * factor), clipSpace: first.clipSpace };
}
