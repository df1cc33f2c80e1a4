// A board of captions and pictures with + and −, and the pictures of their sum.

import { openFile } from "./app.js";
import { patiently, post } from "./api.js";
import { jobCard } from "./cards.js";
import { MAX_CAPTION } from "./contract.js";
import { field, h, iconButton, toast } from "./dom.js";
import { advanced, countField, plain, seedField } from "./forms.js";
import { jobs } from "./jobs.js";
import { actionForm, sourceOf } from "./panels.js";
import { askedOf } from "./recipes.js";
import { store } from "./store.js";
import { droppable, imageOf, pick } from "./tiles.js";
import { combine, messageOf, pointOf } from "./vectors.js";

/** @typedef {import("./types").Term} Term */

/** The board, kept while other views are shown. @type {Term[]} */
let terms = [];

/** @param {URLSearchParams} query picture: one to begin with @returns {import("./types").View} */
export function arithmeticView(query) {
  const given = query.get("picture");
  if (given && !terms.some((term) => term.picture === given)) terms = [...terms.filter((term) => term.picture || term.caption), { sign: 1, picture: given }];
  forgetLost();
  if (given) history.replaceState(null, "", "#/arithmetic");
  const board = h("ol", { class: "board" });
  const formula = h("p", { class: "formula", "aria-live": "polite" });
  const count = countField(2);
  const seed = seedField();
  const caption = h("input", { type: "text", maxLength: MAX_CAPTION, placeholder: "nothing" });
  const more = advanced(["size", "decoder", "upsampler"]);

  function draw() {
    board.replaceChildren(...terms.map((term, at) => row(term, at)));
    told();
  }

  function told() {
    const said = terms.map((term, at) => `${at || term.sign < 0 ? (term.sign < 0 ? "− " : "+ ") : ""}${term.picture ? `[${store.get(term.picture)?.title ?? "picture"}]` : `“${term.caption || "…"}”`}`);
    formula.textContent = said.length ? said.join(" ") : "Add captions and pictures: a picture of a red apple + “a green apple” − “a red apple” is a green one.";
  }

  /** @param {Term} term @param {number} at */
  function row(term, at) {
    const sign = h("button", { type: "button", class: "sign", disabled: at === 0, title: at ? "Change the sign" : "The first is always added" });
    const tell = () => {
      sign.textContent = term.sign < 0 ? "−" : "+";
      sign.setAttribute("aria-label", `Term ${at + 1} is ${term.sign < 0 ? "subtracted" : "added"}`);
      told();
    };
    sign.addEventListener("click", () => ((term.sign = term.sign < 0 ? 1 : -1), tell()));
    if (at === 0) term.sign = 1;
    const picture = store.get(term.picture ?? "");
    const input = h("input", { type: "text", maxLength: MAX_CAPTION, value: term.caption ?? "", placeholder: "a caption", "aria-label": `Caption of term ${at + 1}`, oninput: () => ((term.caption = input.value), told()) });
    const content = picture ? h("div", { class: "other grow" }, imageOf(picture), h("span", {}, picture.title)) : h("div", { class: "grow" }, input);
    tell();
    const away = iconButton("close", `Take away term ${at + 1}`, { onclick: () => ((terms = terms.filter((each) => each !== term)), draw()) });
    return h("li", { class: "row tight" }, sign, content, away);
  }

  /** @param {Term} term */
  function add(term) {
    terms = [...terms, term];
    draw();
    const inputs = board.querySelectorAll("input");
    if (term.caption !== undefined) inputs[inputs.length - 1]?.focus();
  }

  const adding = h(
    "div",
    { class: "row" },
    h("button", { type: "button", onclick: () => add({ sign: 1, caption: "" }) }, "+ Caption"),
    h("button", { type: "button", onclick: () => add({ sign: -1, caption: "" }) }, "− Caption"),
    h(
      "button",
      {
        type: "button",
        onclick: async () => {
          const picture = await pick("Add a picture", openFile);
          if (picture) add({ sign: 1, picture: picture.id });
        },
      },
      "+ Picture…",
    ),
  );
  const options = [board, adding, formula, field("Also steered by the caption", caption, "Optional: it steers the decoder."), h("div", { class: "row options" }, count.element, seed.element), more.element];
  const form = actionForm("Paint the sum", "Captions and pictures are points of one space. What is added and subtracted is as far from the origin as the first.", options, async () => {
    if (forgetLost()) {
      draw();
      return "A picture of this sum is not in this browser any more. It was taken away.";
    }
    const used = terms.filter((term) => term.picture || term.caption?.trim());
    if (!used.length) return "Add a caption or a picture first.";
    const embedding = messageOf(await sumOf(used));
    const generate = plain({ embedding, caption: caption.value.trim() || undefined, seed: seed.value, imageCount: count.value, ...more.read() });
    const job = jobs.start({ generate }, { title: formula.textContent ?? "", about: ["arithmetic"], terms: used.map((term) => ({ ...term })) });
    seed.used(askedOf(job.request).seed ?? "");
    return undefined;
  });
  droppable(board, (id) => add({ sign: 1, picture: id }));
  const cards = h("div", { class: "jobs" });
  const element = h("div", { class: "view narrow" }, h("h1", {}, "Arithmetic"), h("section", { class: "panel" }, form), cards);

  /** @type {{ element: HTMLElement, dispose: () => void }[]} */
  let drawn = [];
  let had = -1;
  const changed = () => {
    const own = jobs.about("arithmetic");
    if (own.length === had) return;
    const begun = had >= 0 && own.length > had;
    had = own.length;
    drawn.forEach((card) => card.dispose());
    drawn = own.map((job) => jobCard(job, { forget: (each) => jobs.forget(each) }));
    cards.replaceChildren(...drawn.map((card) => card.element));
    if (begun) cards.firstElementChild?.scrollIntoView({ block: "nearest" }); // the form is as high as most screens
  };
  jobs.addEventListener("change", changed);
  if (!terms.length) terms = [{ sign: 1, caption: "" }];
  draw();
  changed();
  return {
    element,
    title: "Arithmetic",
    dispose() {
      jobs.removeEventListener("change", changed);
      drawn.forEach((card) => card.dispose());
    },
  };
}

/** Takes pictures that are not here any more off the board; whether there were any. */
function forgetLost() {
  const left = terms.filter((term) => !term.picture || store.get(term.picture));
  const lost = left.length < terms.length;
  terms = left;
  return lost;
}

/** The point that terms add up to. @param {Term[]} used */
export async function sumOf(used) {
  const captions = used.flatMap((term) => (term.picture ? [] : [term.caption?.trim() ?? ""]));
  const pictures = await Promise.all(
    used.flatMap((term) => {
      const picture = store.get(term.picture ?? "");
      return picture ? [sourceOf(picture)] : [];
    }),
  );
  const waits = (/** @type {string} */ state, /** @type {number} */ seconds) =>
    state === "busy" && toast(`The service is busy. Trying again in ${Math.ceil(seconds)} s.`);
  const answer = await patiently(() => post("embed", { captions, images: pictures }), new AbortController().signal, waits);
  const found = await answer.json();
  const [texts, images] = [[...(found.captions ?? [])], [...(found.images ?? [])]];
  return combine(used.map((term) => ({ sign: term.sign, point: pointOf(term.picture ? images.shift() : texts.shift()) })));
}
