"""What goes wrong at the edges is said, and nothing is lost: odd files, two tabs, storage that is denied, odd forms."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.studio.browsing import Studio, studio
from tests.web.stacks import WebStack, picture, png

DENIED = """Object.defineProperty(window, "sessionStorage", {
    get() { throw new DOMException("", "SecurityError"); },
})"""
REMOVE = """async (ids) => (await import("/studio/js/store.js")).store.remove(ids)"""
ROLES = """() => new Promise((resolve) => {
    indexedDB.open("unclip-studio").onsuccess = ({ target }) => {
        const files = target.result.transaction("files").objectStore("files").getAll();
        files.onsuccess = () => resolve(files.result.map((file) => file.role || "picture").sort());
        target.result.close();
    };
})"""


def given(name: str, data: bytes) -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def toasts(page: Page) -> Any:
    return page.locator(".toast")


def test_the_link_to_the_content_stays_in_the_view(here: Studio) -> None:
    here.open("#/pictures")
    here.page.keyboard.press("Tab")
    here.page.keyboard.press("Enter")
    expect(here.page.locator("main")).to_be_focused()
    assert here.page.url.endswith("#/pictures")


def test_a_browser_that_keeps_nothing_for_any_page_shows_the_studio(browser: Browser, stack: WebStack) -> None:
    with studio(browser, stack.root) as here:
        here.page.add_init_script(DENIED)
        here.generate("a red apple")


def test_files_that_are_no_pictures_or_thin_ones_are_told_of(here: Studio) -> None:
    here.open()
    opener = here.page.locator("#open-file")
    opener.set_input_files([given("one.png", picture(64)), given("two.png", picture(32)), given("not.png", b"no")])
    expect(toasts(here.page)).to_have_text(["not.png cannot be read as a picture.", "2 pictures opened."])
    expect(here.page.locator(".tile")).to_have_count(2)
    opener.set_input_files([given("thin.png", png(Image.new("RGB", (3000, 1))))])
    here.page.locator(".picture .stage img").wait_for()
    [thin] = [each for each in here.pictures() if each["title"] == "thin"]
    assert (thin["width"], thin["height"]) == (1024, 1)


def test_news_of_other_tabs_while_pictures_are_written_or_forgotten_change_nothing(here: Studio) -> None:
    here.open()
    found = here.page.evaluate(
        """async () => {
            const { store } = await import("/studio/js/store.js");
            const other = new BroadcastChannel("unclip-studio");
            const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
            const about = { created: 1, kind: "opened", title: "one", type: "image/png", width: 1, height: 1 };
            // A slow disk: what was read before a picture was written comes before the word that it was.
            const getAll = IDBObjectStore.prototype.getAll;
            IDBObjectStore.prototype.getAll = function () {
                const request = getAll.call(this);
                const told = {};
                request.onsuccess = () => setTimeout(() => ((told.result = request.result), told.onsuccess()), 300);
                return told;
            };
            const { set } = Object.getOwnPropertyDescriptor(IDBTransaction.prototype, "oncomplete");
            Object.defineProperty(IDBTransaction.prototype, "oncomplete", {
                set(done) {
                    set.call(this, this.objectStoreNames.contains("pictures") ? () => setTimeout(done, 600) : done);
                },
            });
            const had = [];
            other.postMessage("change");
            await pause(100);
            const [picture] = await store.add([{ blob: new Blob(["one"]), picture: { ...about, sources: [] } }]);
            had.push(store.all.length);
            other.postMessage("change");
            await pause(100);
            await store.remove([picture.id]);
            had.push(store.all.length);
            return had;
        }"""
    )
    assert found == [1, 0]


def test_a_picture_that_is_dropped_while_nobody_tells_its_recipe_keeps_what_is_known_of_it(here: Studio) -> None:
    here.picture()
    here.tab("Vary")
    here.page.get_by_role("button", name="Vary", exact=True).click()
    here.page.locator('.job[data-state="done"]').wait_for()
    varied = next(each for each in here.pictures() if each["kind"] == "vary")
    here.allowed = ("Failed to load resource",)
    here.page.route("**/api/v1/recipe", lambda route: route.abort())
    here.page.locator("#open-file").set_input_files([given("varied.png", here.stored(varied["id"]))])
    here.page.wait_for_url(re.compile(varied["id"]))
    assert next(each for each in here.pictures() if each["id"] == varied["id"]) == varied


def test_forgetting_pictures_leaves_no_masks_behind(here: Studio) -> None:
    here.picture()
    here.tab("Edit")
    here.page.get_by_role("button", name="Invert").click()
    here.page.get_by_role("button", name="Repaint").click()
    here.page.locator('.job[data-state="done"]').wait_for()
    made = [each["id"] for each in here.pictures()]
    assert here.page.evaluate(ROLES) == ["mask", "picture", "picture", "picture"]
    here.page.evaluate(REMOVE, made[-1:])
    assert here.page.evaluate(ROLES) == ["mask", "picture", "picture", "picture"]  # others began with it
    here.page.evaluate(REMOVE, made[:-1])
    assert here.page.evaluate(ROLES) == []
