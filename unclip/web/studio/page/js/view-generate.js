// Pictures from a caption.

import { app } from "./app.js";
import { jobCard } from "./cards.js";
import { MAX_CAPTION } from "./contract.js";
import { h, unique } from "./dom.js";
import { advanced, countField, plain, seedField } from "./forms.js";
import { jobs } from "./jobs.js";
import { askedOf } from "./recipes.js";
import { covers, store } from "./store.js";
import { droppable, grid, pageOf } from "./tiles.js";

const SUGGESTED = 6;
const RECENT = 24;
/** What was typed, kept while other views are shown. */
const draft = { caption: "", count: 4 };

/** @param {URLSearchParams} query again: a picture whose caption, seed and settings to begin with @returns {import("./types").View} */
export function generateView(query) {
  const again = store.get(query.get("again") ?? "");
  const recipe = again?.recipe?.generate ? askedOf(again.recipe) : undefined;
  const caption = h("textarea", { id: unique(), rows: 2, maxLength: MAX_CAPTION, placeholder: "Describe a picture", dir: "auto", enterKeyHint: "send" });
  caption.value = recipe?.caption ?? draft.caption;
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Suggestions" });
  const count = countField(draft.count);
  const seed = seedField();
  if (recipe?.seed) seed.input.value = recipe.seed;
  const more = advanced(["quality", "negativeCaption", "candidates", "size", "priorCandidates", "prior", "decoder", "upsampler"]);
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const go = h("button", { class: "primary", type: "submit" }, "Generate");
  const form = h(
    "form",
    { class: "ask", onsubmit: submit },
    h("label", { for: caption.id, class: "visually-hidden" }, "Caption"),
    caption,
    chips,
    h("div", { class: "split bottom" }, h("div", { class: "row options" }, count.element, seed.element), h("div", { class: "row end" }, go)),
    wrong,
    more.element,
  );
  const cards = h("div", { class: "jobs" });
  const recent = h("section", { "aria-label": "Recent pictures" });
  const element = h("div", { class: "view" }, h("h1", { class: "visually-hidden" }, "Generate"), form, cards, recent);

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    const text = caption.value.trim();
    wrong.hidden = Boolean(text);
    wrong.textContent = text ? "" : "Describe a picture first, or take a suggestion.";
    if (!text) return caption.focus();
    const job = jobs.start({ generate: plain({ caption: text, seed: seed.value, imageCount: count.value, ...more.read() }) });
    seed.used(askedOf(job.request).seed ?? "");
  }

  function suggest() {
    const texts = suggestions(caption.value);
    chips.hidden = !texts.length;
    chips.replaceChildren(
      ...texts.map((text) =>
        h("button", {
          type: "button",
          class: "chip",
          onclick: () => {
            caption.value = text;
            keep();
            caption.focus();
          },
        }, text),
      ),
    );
  }

  function keep() {
    draft.caption = caption.value;
    draft.count = count.value;
    suggest();
  }

  /** @type {{ element: HTMLElement, dispose: () => void }[]} */
  let drawn = [];
  function draw() {
    drawn.forEach((card) => card.dispose());
    drawn = jobs.all.filter((job) => !job.about.length).map((job) => jobCard(job, { forget: (each) => jobs.forget(each) }));
    cards.replaceChildren(...drawn.map((card) => card.element));
    tellRecent();
  }

  let had = "";
  /** Drawn anew where there are others. */
  function tellRecent() {
    const here = new Set(jobs.all.filter((job) => !job.about.length).flatMap((job) => job.pictures.map((picture) => picture.id)));
    const pictures = covers(store.all).filter((picture) => !here.has(picture.id)).slice(0, RECENT);
    const now = `${!drawn.length} ${pictures.map((picture) => picture.id).join()}`;
    if (now === had) return;
    had = now;
    if (pictures.length)
      recent.replaceChildren(h("div", { class: "split" }, h("h2", {}, "Your pictures"), h("a", { href: "#/pictures" }, "All of them")), grid(pictures));
    else if (!drawn.length)
      recent.replaceChildren(h("p", { class: "empty" }, "Pictures that you make are kept in this browser, and appear here. You can also open, or drop, a picture of your own, and vary or edit that."));
    else recent.replaceChildren();
  }

  let live = "";
  /** Cards are drawn anew where there are others, not where one has news. */
  const changed = () => {
    const now = jobs.all.map((job) => jobs.all.indexOf(job) + job.title).join();
    if (now !== live || !jobs.all.length) draw();
    live = now;
  };
  caption.addEventListener("input", keep);
  caption.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  droppable(caption, (id) => {
    location.hash = pageOf(id, `/interpolate?caption=${encodeURIComponent(caption.value)}`);
  });
  jobs.addEventListener("change", changed);
  store.addEventListener("change", tellRecent);
  app.addEventListener("model", suggest);
  suggest();
  draw();
  return {
    element,
    title: "Generate",
    dispose() {
      keep();
      jobs.removeEventListener("change", changed);
      store.removeEventListener("change", tellRecent);
      app.removeEventListener("model", suggest);
      drawn.forEach((card) => card.dispose());
    },
  };
}

/** The model's examples that go with what is typed, and what its last word may become. @param {string} typed */
function suggestions(typed) {
  const examples = app.model?.captions ?? [];
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return examples.slice(0, SUGGESTED);
  const fitting = examples.filter((each) => each !== typed && words.every((word) => each.toLowerCase().includes(word)));
  const last = words[words.length - 1];
  const taught = app.model?.vocabulary?.concepts ?? [];
  const begun = typed.slice(0, typed.length - last.length);
  const completed = last.length < 2 ? [] : taught.filter((each) => each.startsWith(last) && each !== last).map((each) => begun + each);
  return [...new Set([...fitting, ...completed])].slice(0, SUGGESTED);
}
