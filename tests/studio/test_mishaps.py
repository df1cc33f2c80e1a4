"""What goes wrong at the edges is said, and nothing is lost: odd files, two tabs, storage that is denied, odd forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.studio.browsing import Studio, studio
from tests.studio.test_access import wider_than_the_screen
from tests.web.stacks import WebStack, picture, png, stubbed

NARROW = (320, 600)  # as WCAG has it, a desk's 1280 at 400 %
DENIED = """Object.defineProperty(window, "sessionStorage", {
    get() { throw new DOMException("", "SecurityError"); },
})"""
BEGIN = """async (count) => {
    const { jobs } = await import("/studio/js/jobs.js");
    for (let at = 0; at < count; at += 1) jobs.start({ generate: { caption: "an apple", imageCount: 6 } });
}"""
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


def test_a_mask_file_that_cannot_be_read_is_told_of(here: Studio) -> None:
    here.picture()
    here.tab("Edit")
    here.page.get_by_label("Mask file").set_input_files([given("mask.png", b"no")])
    expect(toasts(here.page)).to_have_text("mask.png cannot be read as a picture.")


def test_the_space_bar_that_is_let_go_elsewhere_paints_no_more(here: Studio) -> None:
    here.picture()
    here.tab("Edit")
    canvas = here.page.locator("canvas.paint")
    canvas.focus()
    here.page.keyboard.down(" ")
    canvas.blur()
    here.page.keyboard.up(" ")
    box = canvas.bounding_box()
    assert box is not None
    shown = "canvas => canvas.toDataURL()"
    here.page.mouse.move(box["x"] + 9, box["y"] + 9)
    here.page.mouse.move(1, 1)
    before = canvas.evaluate(shown)
    here.page.mouse.move(box["x"] + 9, box["y"] + 9)
    here.page.mouse.move(box["x"] + box["width"] - 9, box["y"] + 9)
    here.page.mouse.move(1, 1)
    assert canvas.evaluate(shown) == before


def test_a_setting_that_is_wrong_is_shown_though_the_settings_are_folded(here: Studio) -> None:
    here.open()
    here.page.get_by_label("Caption", exact=True).fill("a red apple")
    here.page.get_by_text("Advanced").click()
    steps = here.page.get_by_role("group", name="Decoder").get_by_label("Steps")
    steps.fill("99999")
    here.page.get_by_text("Advanced").click()
    here.page.get_by_role("button", name="Generate").click()
    expect(steps).to_be_focused()


def test_a_key_that_no_header_holds_is_not_taken(here: Studio) -> None:
    here.open()
    here.page.evaluate("document.getElementById('key-button').click()")
    key = here.page.locator("#key")
    for written, taken in (("sk-äpfel…", False), ("two words", False), (" sk-apple ", True)):
        key.fill(written)
        assert key.evaluate("field => field.validity.valid") == taken
    here.page.get_by_role("button", name="Use it").click()
    expect(here.page.locator("#key-dialog")).to_be_hidden()


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


def test_pictures_that_come_do_not_take_the_focus_away(here: Studio) -> None:
    here.picture()
    here.open("#/pictures")
    tiles = here.page.locator(".history .tile")
    tiles.last.focus()
    here.page.evaluate(BEGIN, 1)
    expect(tiles).to_have_count(7)
    expect(tiles.last).to_be_focused()


def test_a_sum_without_one_of_its_pictures_says_so_and_one_that_waits_too(here: Studio) -> None:
    digest = here.picture()
    here.page.get_by_role("link", name="Calculate with it").click()
    here.page.get_by_role("button", name="+ Caption").click()
    here.page.locator(".board input").fill("a green apple")
    here.page.evaluate(REMOVE, [digest])
    paint = here.page.get_by_role("button", name="Paint the sum")
    paint.click()
    expect(here.page.get_by_role("alert")).to_contain_text("not in this browser any more")
    expect(here.page.locator(".board li")).to_have_count(1)
    here.allowed = ("Failed to load resource",)
    busy = {"code": "RESOURCE_EXHAUSTED", "reason": "OVERLOADED", "retryAfter": 2, "message": "full"}
    here.page.route("**/api/v1/embed", lambda route: route.fulfill(status=429, json={"error": busy}), times=1)
    paint.click()
    expect(toasts(here.page)).to_have_text("The service is busy. Trying again in 2 s.")
    here.page.locator('.job[data-state="done"]').wait_for()


def test_long_words_fit_on_the_narrowest_screens(browser: Browser, stack: WebStack) -> None:
    with studio(browser, stack.root, NARROW) as here:
        here.generate("a" * 900, count=2)
        assert not wider_than_the_screen(here.page)
        here.page.locator(".job .tile").first.click()
        here.page.get_by_role("link", name="Calculate with it").click()
        here.page.locator(".board .other").wait_for()
        assert not wider_than_the_screen(here.page)
        here.page.get_by_role("link", name="Pictures").click()
        here.page.get_by_role("button", name="Select").click()
        for index in (0, 1):
            here.page.locator(".history .tile").nth(index).click()
        assert not wider_than_the_screen(here.page)
        here.page.get_by_role("button", name="Compare").click()
        here.page.get_by_role("heading", name="What differs").wait_for()
        assert not wider_than_the_screen(here.page)


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    sizes = ("--base-size", "64", "--final-size", "64", "--sizes", "32:64:512:131072")
    with stubbed(tmp_path_factory.mktemp("wide"), stubs=sizes) as running:
        yield running


def test_frames_have_their_own_shape(browser: Browser, painter: WebStack) -> None:
    with studio(browser, painter.root) as here:
        here.picture()
        here.tab("Text diff")
        here.page.get_by_label("What it should show").fill("a green apple")
        here.page.locator("details.fold:visible summary").click()
        for name, pixels in (("Width", "192"), ("Height", "96")):
            here.page.get_by_label(name, exact=True).locator("visible=true").fill(pixels)
        here.page.get_by_role("button", name="Transform").click()
        here.page.locator('.job[data-state="done"]').wait_for()
        shape = "canvas => [canvas.width, canvas.height]"
        here.page.locator(".ticks .there").nth(8).wait_for()
        canvas = here.page.locator(".stage canvas")
        expect(canvas).to_have_attribute("width", "192")
        assert canvas.evaluate(shape) == [192, 96]
        here.open("#/pictures")
        here.page.locator(".history .tile").first.click()
        expect(here.page.locator(".stage canvas")).to_have_attribute("data-frame", re.compile("."))
        assert here.page.locator(".stage canvas").evaluate(shape) == [192, 96]


def test_a_contact_sheet_says_where_it_ends(here: Studio) -> None:
    digest = here.picture()
    here.page.evaluate(
        """async (id) => {
            const { store } = await import("/studio/js/store.js");
            const { contactSheet } = await import("/studio/js/sheet.js");
            await contactSheet(Array(120).fill(store.get(id)));
        }""",
        digest,
    )
    dialog = here.page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Contact sheet of the first 100 of 120")
    expect(dialog.get_by_role("img", name="Contact sheet of 100 pictures")).to_be_visible()
