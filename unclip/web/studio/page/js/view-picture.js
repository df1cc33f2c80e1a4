// A picture's own page: what it is, what it was made from, and what can be done with it.

import { app } from "./app.js";
import { jobCard } from "./cards.js";
import { h, icon, toast, unique } from "./dom.js";
import { editPanel } from "./edit.js";
import { filmOf, keptFilm } from "./films.js";
import { jobs } from "./jobs.js";
import { lineage } from "./lineage.js";
import { interpolatePanel, textDiffPanel, varyPanel } from "./panels.js";
import { askedOf, factsOf, KINDS } from "./recipes.js";
import { otherVersions, replay } from "./replay.js";
import { store } from "./store.js";
import { imageOf, pageOf } from "./tiles.js";
import { saveAll } from "./view-history.js";

/** @typedef {import("./types").Picture} Picture */
/** @typedef {import("./panels.js").Panel} Panel */

const HIDDEN = 200; // pixels from the top of the window: of a picture that ends there too little is seen

/** @type {[string, string, (page: import("./panels.js").Page) => Panel][]} */
const TABS = [
  ["vary", "Vary", varyPanel],
  ["textdiff", "Text diff", textDiffPanel],
  ["interpolate", "Interpolate", interpolatePanel],
  ["edit", "Edit", editPanel],
];

/**
 * @param {string} id
 * @param {string | undefined} tab
 * @param {URLSearchParams} query
 * @returns {import("./types").View}
 */
export function pictureView(id, tab, query) {
  const picture = store.get(id);
  if (!picture)
    return { element: h("div", { class: "view" }, h("h1", {}, "Not here"), h("p", {}, "This picture is not in this browser, or no longer. "), h("a", { href: "#/pictures" }, "Your pictures")), title: "Not here" };
  const own = imageOf(picture, { class: picture.width <= 160 ? "pixels" : "" });
  const stage = h("div", { class: "stage" }, own);
  const below = h("div", { class: "below" });
  /** @type {{ element: HTMLElement, controls: HTMLElement, dispose: () => void } | undefined} */
  let film;

  /** @param {HTMLElement | null} element @param {HTMLElement | null} [under] */
  function show(element, under = null) {
    film?.dispose();
    film = undefined;
    stage.replaceChildren(element ?? own);
    below.replaceChildren(...(under ? [under] : []));
    // On a phone the form that asked for it is far below.
    if (under && stage.getBoundingClientRect().bottom < HIDDEN) stage.scrollIntoView({ block: "start" });
  }

  /** @param {ReturnType<typeof keptFilm>} next */
  function showFilm(next) {
    if (!next) return show(null);
    show(next.element, next.controls);
    film = next;
  }

  const page = {
    picture,
    query,
    show: (/** @type {HTMLElement | null} */ element, /** @type {HTMLElement | null | undefined} */ under) => (element ? show(element, under) : showFilm(keptFilm(picture))),
    film: (/** @type {import("./jobs.js").Job} */ job, /** @type {string} */ name) => showFilm(filmOf(job, name, app.side || picture.width)),
  };
  showFilm(keptFilm(picture));
  const tabs = tabList(page, tab ?? "vary");
  const cards = h("div", { class: "jobs" });
  const facts = h("section", { class: "panel", "aria-label": "About this picture" });
  const element = h(
    "div",
    { class: "view picture" },
    h("div", { class: "left" }, stage, below),
    h("div", { class: "right" }, h("h1", { dir: "auto" }, picture.title), actions(picture), tabs.element, cards, facts),
  );

  /** @type {{ element: HTMLElement, dispose: () => void }[]} */
  let drawn = [];
  let had = "";
  const draw = () => {
    const own = jobs.about(id);
    const now = own.map((job) => job.created).join();
    if (now === had) return;
    had = now;
    drawn.forEach((card) => card.dispose());
    drawn = own.map((job) => {
      const card = jobCard(job, { forget: (each) => jobs.forget(each), grid: !job.film });
      if (job.film) card.element.append(h("div", { class: "row end" }, h("button", { type: "button", onclick: () => page.film(job, `${KINDS[job.kind]}, ${job.film?.symbol}`) }, "Show the frames")));
      return card;
    });
    cards.replaceChildren(...drawn.map((card) => card.element));
  };
  const tell = () => void lineage(picture).then((tree) => facts.replaceChildren(h("h2", {}, "About this picture"), about(picture), tree));
  jobs.addEventListener("change", draw);
  store.addEventListener("change", tell);
  draw();
  tell();
  return {
    element,
    title: picture.title,
    dispose() {
      jobs.removeEventListener("change", draw);
      store.removeEventListener("change", tell);
      drawn.forEach((card) => card.dispose());
      tabs.dispose();
      film?.dispose();
    },
  };
}

/** @param {Picture} picture */
function actions(picture) {
  const again = h("button", { type: "button", disabled: !picture.recipe }, icon("again"), "Make it again");
  again.addEventListener("click", async () => {
    try {
      await replay(picture);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error));
    }
  });
  const reuse = picture.recipe?.generate && askedOf(picture.recipe).caption ? h("a", { class: "button", href: `#/?again=${picture.id}` }, "Use its caption") : null;
  const save = h("button", { type: "button", onclick: () => void saveAll([picture]) }, icon("save"), "Download");
  const add = h("a", { class: "button", href: `#/arithmetic?picture=${picture.id}` }, icon("plus"), "Calculate with it");
  return h("div", { class: "row tight actions" }, save, again, reuse, add);
}

/** @param {Picture} picture */
function about(picture) {
  const facts = picture.recipe ? factsOf(picture.recipe) : [];
  const versions = otherVersions(picture);
  const score = picture.score === undefined ? [] : [["Score", picture.score.toFixed(4)]];
  const all = [["Kind", KINDS[picture.kind]], ...facts, ...score, ["Pixels", `${picture.width} × ${picture.height}`], ["Model", (picture.modelVersion ?? "").slice(0, 16)], ["sha256", `${picture.id.slice(0, 16)}…`]];
  return h(
    "div",
    {},
    versions.length ? h("p", { class: "notice" }, `The service has another ${versions.join(" and ")} now: made again, it will differ.`) : null,
    h("dl", { class: "facts" }, ...all.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}

/**
 * The panels, one of them shown; arrow keys go from one to the next.
 * @param {import("./panels.js").Page} page
 * @param {string} first
 */
function tabList(page, first) {
  /** @type {Map<string, Panel>} */
  const made = new Map();
  const body = h("div", { role: "tabpanel", class: "panel", id: unique() });
  let current = "";
  const buttons = TABS.map(([name, label]) => h("button", { type: "button", role: "tab", id: unique(), "aria-controls": body.id, onclick: () => choose(name) }, label));

  /** @param {string} name */
  function choose(name) {
    const at = Math.max(0, TABS.findIndex(([each]) => each === name));
    if (TABS[at][0] === current) return;
    made.get(current)?.left?.();
    current = TABS[at][0];
    buttons.forEach((button, each) => {
      button.setAttribute("aria-selected", String(each === at));
      button.tabIndex = each === at ? 0 : -1;
    });
    const panel = made.get(current) ?? TABS[at][2](page);
    made.set(current, panel);
    body.replaceChildren(panel.element);
    body.setAttribute("aria-labelledby", buttons[at].id);
    panel.chosen?.();
    history.replaceState(null, "", pageOf(page.picture.id, `/${current}`));
  }

  const list = h("div", { role: "tablist", "aria-label": "What to do with it", class: "tabs" }, ...buttons);
  list.addEventListener("keydown", (event) => {
    const here = TABS.findIndex(([name]) => name === current);
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: TABS.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const at = (next + TABS.length) % TABS.length;
    choose(TABS[at][0]);
    buttons[at].focus();
  });
  choose(first);
  return { element: h("div", { class: "tabbed" }, list, body), dispose: () => made.forEach((panel) => panel.dispose?.()) };
}
