"""Where the stack paints more than squares the page offers width and height, and an edit's frame has their shape."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.studio.browsing import Studio
from tests.web.stacks import WebStack, stubbed
from unclip import read_recipe

STUBS = ("--base-size", "64", "--final-size", "64", "--sizes", "32:64:512:131072")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    with stubbed(tmp_path_factory.mktemp("painter"), stubs=STUBS) as running:
        yield running


def test_a_width_and_a_height_are_painted_and_wrong_ones_are_said_at_once(here: Studio) -> None:
    here.open()
    here.page.get_by_text("Advanced").click()
    width, height = (here.page.get_by_label(name, exact=True) for name in ("Width", "Height"))
    expect(width).to_have_attribute("placeholder", "64")
    expect(here.page.get_by_label("Size", exact=True).and_(here.page.locator("input"))).to_be_hidden()
    for wide, high, taken in (
        ("128", "", False),
        ("", "128", False),
        ("100", "128", False),
        ("512", "512", False),
        ("32", "64", False),
        ("", "", True),
        ("128", "96", True),
    ):
        width.fill(wide)
        height.fill(high)
        valid = [each.evaluate("field => field.validity.valid") for each in (width, height)]
        assert (wide, high, all(valid)) == (wide, high, taken)
    here.page.get_by_label("Caption", exact=True).fill("a wide apple")
    here.page.get_by_label("Pictures", exact=True).fill("1")
    here.page.get_by_role("button", name="Generate").click()
    here.finished("a wide apple")
    [made] = here.pictures()
    assert (made["width"], made["height"]) == (128, 96)
    recipe = read_recipe(here.stored(made["id"])).request
    assert (recipe.width, recipe.height, recipe.size) == (128, 96, None)


def test_the_room_around_a_picture_has_the_shape_that_is_painted(here: Studio) -> None:
    here.picture()
    here.tab("Edit")
    here.page.get_by_label("Room around it").fill("1.5")
    canvas = here.page.locator("canvas.paint")
    ratio = "canvas => canvas.width / canvas.height"
    assert canvas.evaluate(ratio) == 1
    here.page.locator("details.fold:visible summary").click()
    here.page.get_by_label("Width", exact=True).locator("visible=true").fill("192")
    here.page.get_by_label("Height", exact=True).locator("visible=true").fill("96")
    assert abs(canvas.evaluate(ratio) - 2) < 0.05
    here.page.get_by_role("button", name="Repaint").click()
    here.page.locator('.job[data-state="done"] .tile').first.wait_for()
    made = here.pictures()[0]
    with Image.open(io.BytesIO(here.stored(made["id"]))) as picture:
        assert picture.size == (192, 96)
