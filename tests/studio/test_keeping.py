"""Pictures that the browser keeps: found, compared, put on a sheet, saved with recipes, dropped in to be replayed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from tests.studio.browsing import Studio
from tests.web.stacks import WebStack
from unclip import Client, read_recipe


def test_pictures_are_found_by_their_words_seeds_and_kinds(here: Studio) -> None:
    here.generate("a red apple", count=2, seed=40)
    here.generate("a blue car", seed=3)
    here.open("#/pictures")
    tiles = here.page.locator(".history .tile")
    expect(tiles).to_have_count(3)
    for words, count in (("apple", 2), ("red 41", 1), ("generate", 3), ("boat", 0)):
        here.page.get_by_label("Search your pictures").fill(words)
        expect(tiles).to_have_count(count)
    expect(here.page.get_by_text("No picture has these words.")).to_be_visible()


def test_two_pictures_are_compared_side_by_side_and_over_each_other(here: Studio) -> None:
    here.generate("a red apple", count=2, seed=40)
    here.open("#/pictures")
    here.page.get_by_role("button", name="Select").click()
    compare = here.page.get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    for index in (0, 1):
        here.page.locator(".history .tile").nth(index).click()
    compare.click()
    expect(here.page.locator(".pair img")).to_have_count(2)
    rows = here.page.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_have_text("Seed4041")
    here.page.get_by_label("How much of the second").fill("20")
    expect(here.page.locator("img.over")).to_have_css("clip-path", "inset(0px 0px 0px 80%)")


def test_pictures_become_a_contact_sheet_and_are_saved_as_they_came(here: Studio, stack: WebStack) -> None:
    here.generate("a red apple", count=3, seed=40)
    here.open("#/pictures")
    here.page.get_by_role("button", name="Select").click()
    for index in range(3):
        here.page.locator(".history .tile").nth(index).click()
    here.page.get_by_role("button", name="Contact sheet").click()
    with here.page.expect_download() as saving:
        here.page.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert Image.open(saving.value.path()).size == (16 + 2 * 208, 16 + 2 * 262)
    here.page.get_by_role("button", name="Close").click()
    here.page.locator(".history .tile").nth(0).click()
    here.page.locator(".history .tile").nth(1).click()
    with here.page.expect_download() as saving:
        here.page.get_by_role("toolbar").get_by_role("button", name="Download").click()
    assert saving.value.suggested_filename == "a-red-apple-42.png"
    with Client(stack.gateway) as client:
        [wanted] = client.generate("a red apple", seed=42)
    assert Path(saving.value.path()).read_bytes() == wanted.data


def test_pictures_are_forgotten_when_that_is_confirmed(here: Studio) -> None:
    here.generate("a red apple", count=2, seed=40)
    here.open("#/pictures")
    here.page.get_by_role("button", name="Select").click()
    here.page.locator(".history .tile").first.click()
    here.page.once("dialog", lambda dialog: dialog.dismiss())
    here.page.get_by_role("button", name="Forget").click()
    expect(here.page.locator(".history .tile")).to_have_count(2)
    here.page.once("dialog", lambda dialog: dialog.accept())
    here.page.get_by_role("button", name="Forget").click()
    expect(here.page.locator(".history .tile")).to_have_count(1)
    here.page.reload()
    expect(here.page.locator(".history .tile")).to_have_count(1)


FULL = """
    const begin = IDBDatabase.prototype.transaction;
    IDBDatabase.prototype.transaction = function (names, mode) {
        if (mode === "readwrite") throw new DOMException("full", "QuotaExceededError");
        return begin.call(this, names, mode);
    };
"""


def test_a_browser_without_room_shows_the_pictures_as_long_as_the_tab_is_open(here: Studio) -> None:
    here.page.add_init_script(FULL)
    here.generate("a red apple", seed=7)
    here.page.get_by_role("link", name="Pictures").click()
    expect(here.page.get_by_text("1 picture, kept until this tab is closed")).to_be_visible()
    here.page.locator(".history .tile").click()
    expect(here.page.locator(".picture .stage img")).to_have_attribute("src", re.compile("^blob:"))


DROP = """async ([name, bytes]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    for (const kind of ["dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


def test_a_picture_of_ours_that_is_dropped_is_made_again_byte_for_byte(here: Studio, stack: WebStack) -> None:
    with Client(stack.gateway) as client:
        [source] = client.generate("a red apple", seed=4)
        [varied] = client.vary(source.data, eta=0.5, seed=9)
    here.open()
    here.page.evaluate(DROP, ["varied.png", list(varied.data)])
    expect(here.page.get_by_role("heading", level=1)).to_have_text("Variation")
    expect(here.page.locator(".tree")).to_contain_text("a picture that is not here")
    here.page.get_by_role("button", name="Make it again").click()
    expect(here.page.locator(".toast")).to_contain_text("Missing is a picture that it began with")
    page = here.page.url
    here.page.evaluate(DROP, ["source.png", list(source.data)])
    expect(here.page.get_by_role("heading", level=1)).to_have_text("a red apple")
    here.page.goto(page)
    expect(here.page.locator(".tree")).to_contain_text("Generated: a red apple")
    here.page.get_by_role("button", name="Make it again").click()
    expect(here.page.locator(".toast").last).to_contain_text("the same file, byte for byte")
    assert hashlib.sha256(varied.data).hexdigest() == here.shown()


def test_a_picture_tells_its_recipe_and_what_it_was_made_from_and_into(here: Studio) -> None:
    first = here.picture()
    here.page.get_by_label("Pictures", exact=True).fill("1")
    here.page.get_by_role("button", name="Vary", exact=True).click()
    here.finished("Variations of a red apple")
    here.page.locator(".job .tile").first.click()
    here.page.locator(".picture .stage img").wait_for()
    here.page.get_by_role("button", name="Vary", exact=True).click()
    here.finished("Variations of a red apple")
    here.page.locator(".job .tile").first.click()
    tree = here.page.locator(".tree .tree a")
    expect(tree).to_have_attribute("href", f"#/picture/{first}")  # the parent's parent
    tree.click()
    expect(here.page.locator(".lineage")).to_contain_text("Made from it")
    here.page.get_by_role("link", name="Use its caption").click()
    expect(here.page.get_by_label("Caption", exact=True)).to_have_value("a red apple")
    expect(here.page.get_by_label("Seed", exact=True)).to_have_value("7")


def test_the_facts_of_a_picture_are_all_that_its_recipe_says(here: Studio) -> None:
    digest = here.picture()
    facts = here.page.locator(".facts")
    recipe = read_recipe(here.stored(digest))
    expect(facts).to_contain_text(f"Model{recipe.model_version[:16]}")
    expect(facts).to_contain_text(re.compile("Prior.*steps.*guidance"))
    expect(facts).to_contain_text(digest[:16])


def test_files_have_their_sha256_where_browsers_do_not_calculate_it(here: Studio) -> None:
    here.open()
    for size in (0, 3, 55, 56, 63, 64, 1000):
        data = bytes(index * 37 % 256 for index in range(size))
        found: list[int] = here.page.evaluate(
            'async (data) => [...(await import("/studio/js/bytes.js")).sha256(new Uint8Array(data))]', list(data)
        )
        assert bytes(found) == hashlib.sha256(data).digest()
