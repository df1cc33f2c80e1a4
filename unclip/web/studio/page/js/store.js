// What the browser keeps, in IndexedDB: pictures with their recipes, and every file that they are or began with.

import { digestOf } from "./bytes.js";

/** @typedef {import("./types").Picture} Picture */
/** @typedef {import("./types").StoredFile} StoredFile */

const NAME = "unclip-studio";
const KEPT_URLS = 1500;

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @returns {Promise<IDBDatabase>} */
function opened() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("pictures", { keyPath: "id" });
    request.result.createObjectStore("files", { keyPath: "digest" });
  };
  return answered(request);
}

/** The pictures, all but their files in memory, newest first; "change" where there are others, "full" where no more are kept. */
class Store extends EventTarget {
  /** @type {Map<string, Picture>} */
  #pictures = new Map();
  /** Files that are not, or cannot be, on disk. @type {Map<string, StoredFile>} */
  #held = new Map();
  /** @type {Map<string, string>} */
  #urls = new Map();
  /** @type {IDBDatabase | undefined} */
  #base;
  /** Other tabs of the same browser. */
  #others = new BroadcastChannel(NAME);
  /** Whether what is here outlives the tab. */
  kept = false;

  /** Reads what there is. */
  async open() {
    try {
      this.#base = await opened();
      this.kept = true;
      await this.#read();
    } catch {
      this.kept = false; // a private window, say: pictures last as long as the tab
    }
    this.#others.onmessage = () => this.#read().then(() => this.dispatchEvent(new Event("change")));
  }

  async #read() {
    if (!this.#base) return;
    /** @type {Picture[]} */
    const kept = await answered(this.#base.transaction("pictures").objectStore("pictures").getAll());
    this.#sort([...kept, ...this.all.filter((picture) => this.#held.has(picture.id))]);
  }

  /** @param {Picture[]} pictures */
  #sort(pictures) {
    pictures.sort((one, other) => other.created - one.created);
    this.#pictures = new Map(pictures.map((picture) => [picture.id, picture]));
  }

  /** @returns {Picture[]} */
  get all() {
    return [...this.#pictures.values()];
  }

  /** @param {string} id */
  get(id) {
    return this.#pictures.get(id);
  }

  /** Frames of a trajectory, in their order. @param {string} film */
  framesOf(film) {
    const frames = this.all.filter((picture) => picture.film?.id === film);
    return frames.sort((one, other) => (one.film?.index ?? 0) - (other.film?.index ?? 0));
  }

  /**
   * Keeps pictures with their files. What is known of one that is there already, and not said anew, stays.
   * @param {{ picture: Omit<Picture, "id">, blob: Blob }[]} added
   * @returns {Promise<Picture[]>}
   */
  async add(added) {
    /** @type {Picture[]} */
    const pictures = [];
    for (const { picture, blob } of added) {
      const id = await this.keepFile(blob);
      const said = Object.fromEntries(Object.entries(picture).filter(([, value]) => value !== undefined));
      const known = /** @type {Picture} */ ({ ...this.#pictures.get(id), ...said, id });
      this.#pictures.set(id, known);
      pictures.push(known);
    }
    this.#sort(this.all);
    await this.#write("pictures", (place) => pictures.filter((picture) => !this.#held.has(picture.id)).forEach((picture) => place.put(picture)));
    // What is on disk may have been read meanwhile, before they were.
    this.#sort([...this.all.filter((each) => !pictures.some((picture) => picture.id === each.id)), ...pictures]);
    this.#told();
    return pictures;
  }

  /**
   * Keeps a file.
   * @param {Blob} blob
   * @param {Omit<StoredFile, "digest" | "blob">} [more]
   * @returns {Promise<string>} its digest
   */
  async keepFile(blob, more = {}) {
    const digest = await digestOf(blob);
    const file = { ...more, digest, blob };
    if (!(await this.#write("files", (place) => place.put(file)))) this.#held.set(digest, file);
    return digest;
  }

  /** @param {string} digest @returns {Promise<StoredFile | undefined>} */
  async file(digest) {
    const held = this.#held.get(digest);
    if (held || !this.#base) return held;
    return answered(this.#base.transaction("files").objectStore("files").get(digest));
  }

  /** The address of a file in this tab, "" where it is not here. @param {string} digest @returns {Promise<string>} */
  async url(digest) {
    const known = this.#urls.get(digest);
    if (known) return known;
    const file = await this.file(digest);
    if (!file) return "";
    const url = URL.createObjectURL(file.blob);
    this.#urls.set(digest, url);
    const [oldest] = this.#urls;
    if (this.#urls.size > KEPT_URLS) {
      URL.revokeObjectURL(oldest[1]);
      this.#urls.delete(oldest[0]);
    }
    return url;
  }

  /** Forgets pictures; their files and those that they began with too, unless another picture needs them. @param {string[]} ids */
  async remove(ids) {
    const files = new Set(ids.flatMap((id) => [id, ...(this.#pictures.get(id)?.sources ?? [])]));
    ids.forEach((id) => this.#pictures.delete(id));
    const needed = new Set(this.all.flatMap((picture) => [picture.id, ...picture.sources]));
    const gone = [...files].filter((digest) => !needed.has(digest));
    await this.#write("pictures", (place) => ids.forEach((id) => place.delete(id)));
    ids.forEach((id) => this.#pictures.delete(id)); // which may have been read meanwhile
    await this.#write("files", (place) => gone.forEach((digest) => place.delete(digest)));
    gone.forEach((digest) => this.#held.delete(digest));
    this.#told();
  }

  /**
   * @param {"pictures" | "files"} name
   * @param {(place: IDBObjectStore) => void} change
   * @returns {Promise<boolean>} whether it is on disk
   */
  async #write(name, change) {
    if (!this.#base) return false;
    try {
      const transaction = this.#base.transaction(name, "readwrite");
      change(transaction.objectStore(name));
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      return true;
    } catch {
      if (this.kept) this.dispatchEvent(new Event("full")); // or what was kept has been cleared away under it
      this.kept = false;
      return false;
    }
  }

  #told() {
    this.#others.postMessage("change");
    this.dispatchEvent(new Event("change"));
  }
}

export const store = new Store();

/** Pictures of which a trajectory is but one, its last frame. @param {Picture[]} pictures */
export function covers(pictures) {
  /** @type {Map<string, Picture>} */
  const last = new Map();
  for (const picture of pictures) {
    const film = picture.film;
    if (film && (last.get(film.id)?.film?.index ?? -1) < film.index) last.set(film.id, picture);
  }
  return pictures.filter((picture) => !picture.film || last.get(picture.film.id) === picture);
}

/** Those that have all words of `text`. @param {Picture[]} pictures @param {string} text */
export function search(pictures, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return pictures.filter((picture) => {
    const said = `${picture.title} ${picture.kind} ${picture.seed ?? ""} ${JSON.stringify(picture.terms ?? "")}`.toLowerCase();
    return words.every((word) => said.includes(word));
  });
}
