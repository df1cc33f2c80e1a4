// Bytes as text, their sha256, and pictures as files.

/** @param {string} text Base64 @returns {Uint8Array<ArrayBuffer>} */
export function fromBase64(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

/** @param {Uint8Array} bytes @returns {string} */
export function toBase64(bytes) {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 0x8000) letters += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(letters);
}

/** @param {Blob} blob @returns {Promise<{ data: string }>} the contract's Image */
export async function imageMessage(blob) {
  return { data: toBase64(new Uint8Array(await blob.arrayBuffer())) };
}

/** @param {import("./types").ImageMessage} image @returns {string} */
export function dataUrl(image) {
  return `data:${image.mediaType || "image/png"};base64,${image.data}`;
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Blob>} a PNG */
export function pngOf(canvas) {
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture cannot be written."))), "image/png"),
  );
}

/** @param {Blob} blob @returns {Promise<string>} the sha256 of its bytes, in hex */
export async function digestOf(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  // Browsers have it for pages by https and of this machine only.
  const hash = crypto.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : sha256(bytes);
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The first 32 bits of the fractional parts of roots of the first primes (FIPS 180-4). @param {number} root */
function fractions(root) {
  const found = [];
  for (let number = 2; found.length < 64; number += 1) {
    let prime = true;
    for (let factor = 2; factor * factor <= number; factor += 1) if (number % factor === 0) prime = false;
    if (prime) found.push((number ** (1 / root) * 2 ** 32) >>> 0);
  }
  return found;
}

const ROUNDS = fractions(3);
const START = fractions(2).slice(0, 8);

/** @param {number} value @param {number} by */
const rotate = (value, by) => (value >>> by) | (value << (32 - by));

/** @param {Uint8Array} bytes @returns {Uint8Array} */
export function sha256(bytes) {
  const length = ((bytes.length + 8) >> 6) * 64 + 64;
  const padded = new DataView(new ArrayBuffer(length));
  new Uint8Array(padded.buffer).set(bytes);
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(length - 8, Math.floor(bytes.length / 2 ** 29));
  padded.setUint32(length - 4, (bytes.length << 3) >>> 0);
  const state = new Uint32Array(START);
  const words = new Uint32Array(64);
  for (let block = 0; block < length; block += 64) {
    for (let at = 0; at < 16; at += 1) words[at] = padded.getUint32(block + 4 * at);
    for (let at = 16; at < 64; at += 1) {
      const [a, b] = [words[at - 15], words[at - 2]];
      const small = rotate(a, 7) ^ rotate(a, 18) ^ (a >>> 3);
      const large = rotate(b, 17) ^ rotate(b, 19) ^ (b >>> 10);
      words[at] = words[at - 16] + small + words[at - 7] + large;
    }
    let [a, b, c, d, e, f, g, k] = state;
    for (let at = 0; at < 64; at += 1) {
      const one = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[at] + words[at];
      const two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [k, g, f, e, d, c, b, a] = [g, f, e, (d + one) >>> 0, c, b, a, (one + two) >>> 0];
    }
    [a, b, c, d, e, f, g, k].forEach((value, at) => (state[at] += value));
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((value, at) => out.setUint32(4 * at, value));
  return new Uint8Array(out.buffer);
}
