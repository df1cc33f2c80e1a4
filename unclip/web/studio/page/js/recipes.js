// What requests and recipes say, in words; and the pictures in them.

/** @typedef {import("./types").StreamRequest} StreamRequest */
/** @typedef {import("./types").Asked} Asked */
/** @typedef {import("./types").Kind} Kind */

/** @type {Record<Kind | "opened", string>} */
export const KINDS = {
  generate: "Generated",
  vary: "Variation",
  textDiff: "Text diff",
  interpolate: "Interpolation",
  edit: "Edit",
  opened: "Opened",
};

/** In the order of a recipe's source digests. @type {("image" | "toImage" | "mask")[]} */
const PICTURES = ["image", "toImage", "mask"];

/** @param {StreamRequest} request @returns {Kind} */
export function kindOf(request) {
  const kind = /** @type {Kind | undefined} */ (Object.keys(request).find((name) => name in KINDS));
  if (!kind) throw new Error("The recipe is of a kind that this page does not know.");
  return kind;
}

/** @param {StreamRequest} request @returns {Asked} */
export function askedOf(request) {
  return /** @type {Asked} */ (request[kindOf(request)]);
}

/** The digests that a recipe has, by their fields. @param {StreamRequest} recipe @param {string[]} digests */
export function sourcesOf(recipe, digests) {
  const asked = askedOf(recipe);
  const fields = PICTURES.filter((name) =>
    ({ image: kindOf(recipe) !== "generate", toImage: kindOf(recipe) === "interpolate" && !asked.toCaption, mask: kindOf(recipe) === "edit" })[name],
  );
  return digests.map((digest, at) => ({ field: fields[at] ?? "image", digest }));
}

/** What a picture is called. @param {StreamRequest} request */
export function titleOf(request) {
  const asked = askedOf(request);
  switch (kindOf(request)) {
    case "generate":
      return asked.caption || "Painted from a point";
    case "edit":
      return asked.caption || "Edit";
    case "textDiff":
      return asked.before ? `${asked.before} → ${asked.after}` : `→ ${asked.after}`;
    case "interpolate":
      return asked.toCaption ? `on the way to ${asked.toCaption}` : "between two pictures";
    case "vary":
      return "Variation";
  }
}

/** @type {Record<string, string>} */
const NAMES = {
  caption: "Caption",
  before: "Before",
  after: "After",
  toCaption: "Towards",
  negativeCaption: "Steered away from",
  seed: "Seed",
  thetas: "θ",
  ts: "t",
  eta: "η",
  size: "Size",
  width: "Width",
  height: "Height",
  priorCandidates: "Prior candidates",
  embedding: "Point",
  quality: "Quality",
  resampling: "Resampling",
  start: "Start",
  fit: "Fit",
  prior: "Prior",
  decoder: "Decoder",
  upsampler: "Upsampler",
  format: "Format",
  imageCount: "Pictures",
};

/** A recipe as names and values, everything that it has. @param {StreamRequest} recipe @returns {[string, string][]} */
export function factsOf(recipe) {
  const hidden = ["image", "toImage", "mask"];
  return Object.entries(askedOf(recipe))
    .filter(([name]) => !hidden.includes(name))
    .map(([name, value]) => [NAMES[name] ?? name, written(name, value)]);
}

/** @param {string} name @param {any} value @returns {string} */
function written(name, value) {
  if (name === "embedding") return `of ${value.values?.shape?.[0] ?? "?"} dimensions`;
  if (name === "quality") return qualityName(value);
  if (Array.isArray(value)) return value.map((each) => written("", each)).join(", ");
  if (typeof value === "number") return String(Number(value.toFixed(4)));
  if (value && typeof value === "object")
    return Object.entries(value)
      .map(([key, each]) => (key === "sampler" ? samplerName(each) : `${spaced(key)} ${written(key, each)}`))
      .join(", ");
  return String(value).replace(/^(?:START|FIT|IMAGE_FORMAT)_/, (_) => "").toString();
}

/** @param {string} name of the contract's enum */
export function samplerName(name) {
  return name.replace("SAMPLER_", "").replace("DPMPP_2M", "DPM++ 2M");
}

/** @param {string} name of the contract's enum */
export function qualityName(name) {
  return name.replace("QUALITY_", "").toLowerCase();
}

/** @param {string} name in lowerCamelCase */
function spaced(name) {
  return { guidanceScale: "guidance" }[name] ?? name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** What the contract's stages are called. @type {Record<string, string>} */
export const STAGES = {
  STAGE_ENCODER: "Encoder",
  STAGE_INVERT: "Inversion",
  STAGE_PRIOR: "Prior",
  STAGE_DECODER: "Decoder",
  STAGE_UPSAMPLER: "Upsampler",
};

/** The stages that a request goes through, in their order. @param {StreamRequest} request */
export function stagesOf(request) {
  const asked = askedOf(request);
  const kind = kindOf(request);
  const inverted = ["vary", "textDiff", "interpolate"].includes(kind) && asked.start !== "START_RANDOM";
  const sampled = kind === "edit" || (kind === "generate" && !asked.embedding) || Boolean(asked.toCaption);
  return [
    ...(inverted ? ["STAGE_INVERT"] : []),
    ...(sampled ? ["STAGE_PRIOR"] : []),
    "STAGE_DECODER",
    "STAGE_UPSAMPLER",
  ];
}
