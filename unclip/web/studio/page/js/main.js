// The page: which view is shown, whether the server is there, the key, and files that are dropped.

import { app, openFile } from "./app.js";
import { connection } from "./api.js";
import { announce, h, toast } from "./dom.js";
import { jobs } from "./jobs.js";
import { store } from "./store.js";
import { DRAGGED, pageOf } from "./tiles.js";
import { arithmeticView } from "./view-arithmetic.js";
import { compareView } from "./view-compare.js";
import { generateView } from "./view-generate.js";
import { historyView } from "./view-history.js";
import { pictureView } from "./view-picture.js";

/** @typedef {import("./types").View} View */

/** Views by the beginning of their addresses. @type {[RegExp, (parts: string[], query: URLSearchParams) => View][]} */
const ROUTES = [
  [/^\/picture\/([0-9a-f]{64})(?:\/(\w+))?$/, ([id, tab], query) => pictureView(id, tab, query)],
  [/^\/pictures$/, () => historyView()],
  [/^\/arithmetic$/, (_, query) => arithmeticView(query)],
  [/^\/compare\/([0-9a-f]{64})\/([0-9a-f]{64})$/, ([one, other]) => compareView(one, other)],
  [/^\/?$/, (_, query) => generateView(query)],
];

const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));
const running = /** @type {HTMLElement} */ (document.getElementById("running"));
/** @type {View | undefined} */
let shown;

function route() {
  const [path, asked] = location.hash.slice(1).split("?");
  const query = new URLSearchParams(asked);
  for (const [pattern, view] of ROUTES) {
    const found = pattern.exec(path);
    if (!found) continue;
    const first = !shown;
    shown?.dispose?.();
    shown = view(found.slice(1), query);
    main.replaceChildren(shown.element);
    document.title = `${shown.title} · unclip studio`;
    for (const link of document.querySelectorAll("nav a")) {
      const here = link.getAttribute("href") === `#${path || "/"}`;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (!first) {
      scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
    return;
  }
  location.replace("#/");
}

const away = h("span", {});
const hurry = h("button", { type: "button", onclick: () => connection.hurry() }, "Try now");

/** Says how the server is, where it is not well. */
function tell() {
  const { state, again } = connection;
  banner.hidden = state === "ok" || state === "busy";
  if (banner.hidden) return;
  if (state === "key") {
    keyButton.hidden = false;
    const why = { CREDENTIALS_EXPIRED: "Your key has expired.", CREDENTIALS_INVALID: "The service does not know this key." }[connection.why];
    banner.replaceChildren(h("span", {}, why ?? "The service wants a key."), h("button", { type: "button", onclick: askForKey }, "Give a key"));
    askForKey();
    return;
  }
  const seconds = Math.max(0, Math.ceil((again - Date.now()) / 1000));
  const when = seconds ? `Trying again in ${seconds} s.` : "Trying again …";
  away.textContent = `The service cannot be reached. ${when}`;
  // Told every second: the button stays, or it would be gone under a finger, and the keyboard's focus with it.
  if (!banner.contains(hurry)) banner.replaceChildren(away, hurry);
}

const keyDialog = /** @type {HTMLDialogElement} */ (document.getElementById("key-dialog"));

function askForKey() {
  if (keyDialog.open) return;
  const why = {
    CREDENTIALS_EXPIRED: "The key that you gave has expired. Give another one to go on.",
    CREDENTIALS_INVALID: "The service does not know the key that you gave.",
  }[connection.why];
  const note = /** @type {HTMLElement} */ (document.getElementById("key-why"));
  note.textContent = why ?? "This service is for those who have a key.";
  keyDialog.showModal();
}

document.getElementById("key-form")?.addEventListener("submit", () => {
  const input = /** @type {HTMLInputElement} */ (document.getElementById("key"));
  if (input.value.trim()) connection.key = input.value.trim();
  input.value = "";
});
document.getElementById("key-close")?.addEventListener("click", () => keyDialog.close());
const keyButton = /** @type {HTMLElement} */ (document.getElementById("key-button"));
keyButton.addEventListener("click", askForKey);
keyButton.hidden = !connection.key; // shown to those who need one

function tellRunning() {
  const live = jobs.all.filter((job) => job.live).length;
  running.hidden = !live;
  running.textContent = live === 1 ? "1 request under way" : `${live} requests under way`;
}

const isFile = (/** @type {DragEvent} */ event) =>
  event.dataTransfer?.types.includes("Files") && !event.dataTransfer.types.includes(DRAGGED);
addEventListener("dragover", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping-file");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping-file");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping-file");
  if (!isFile(event)) return;
  event.preventDefault();
  void openAll([...(event.dataTransfer?.files ?? [])]);
});

/** @param {File[]} files */
async function openAll(files) {
  let last;
  let opened = 0;
  for (const file of files) {
    const picture = await openFile(file);
    if (picture) [last, opened] = [picture, opened + 1];
  }
  if (last && files.length === 1) location.hash = pageOf(last.id);
  else if (opened) toast(`${opened} ${opened === 1 ? "picture" : "pictures"} opened.`);
}

// Addresses after # are views: a link to an element would leave the one that is shown.
document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

const opener = /** @type {HTMLInputElement} */ (document.getElementById("open-file"));
document.getElementById("open-button")?.addEventListener("click", () => opener.click());
opener.addEventListener("change", () => {
  void openAll([...(opener.files ?? [])]);
  opener.value = "";
});

connection.addEventListener("change", () => {
  if (connection.state === "ok" && !banner.hidden) announce("The service is there again.");
  tell();
});
setInterval(() => connection.state === "away" && tell(), 1000);
jobs.addEventListener("change", tellRunning);
addEventListener("hashchange", route);
app.addEventListener("model", () => {
  const place = document.getElementById("model");
  if (place) place.textContent = app.model?.name ?? "";
});

store.addEventListener("full", () => toast("This browser has no room for more pictures: new ones last as long as this tab. Download them, or forget others."));

await store.open();
if (!store.kept) toast("This browser keeps no pictures: they last as long as this tab.");
app.watch();
route();
