"""The studio on services with networks: generate, text diff and edit, and work that ends with its tab."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from tests.metrics import Metrics
from tests.studio.browsing import Studio, studio
from tests.tiny import FINAL
from tests.web.stacks import opened, web_before
from unclip import LocalStack, TextDiff, read_recipe

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def root(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is."""
    with web_before(stack.address, tmp_path_factory.mktemp("studio")) as running:
        yield running.root


@pytest.fixture
def there(browser: Browser, root: str) -> Iterator[Studio]:
    with studio(browser, root) as opened:
        yield opened


def test_pictures_are_generated_transformed_and_edited(there: Studio) -> None:
    source = there.picture("red cat", seed=3)
    there.tab("Text diff")
    there.page.get_by_label("What it should show").fill("red dog")
    there.page.get_by_label("Frames").fill("3")
    there.page.get_by_role("button", name="Transform").click()
    there.finished("red cat → red dog")
    there.page.get_by_label("Text diff, θ").fill("0.26")
    expect(there.page.locator(".stage canvas")).to_have_attribute("data-frame", "1")
    [middle] = [each for each in there.pictures() if each.get("film", {}).get("index") == 1]
    recipe = read_recipe(there.stored(middle["id"])).request
    assert isinstance(recipe, TextDiff)
    assert (recipe.before, recipe.after, list(recipe.thetas)) == ("red cat", "red dog", [0.25])
    there.tab("Edit")
    canvas = there.page.locator("canvas.paint")
    box = canvas.bounding_box()
    assert box is not None
    there.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    there.page.mouse.down()
    there.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.75, steps=4)
    there.page.mouse.up()
    there.page.get_by_label("Pictures", exact=True).fill("1")
    there.page.get_by_role("button", name="Repaint").click()
    there.finished("red cat")
    edited = there.pictures()[0]
    mask = np.asarray(opened(there.stored(edited["sources"][1])).convert("L"))
    before, after = (np.asarray(opened(there.stored(each)).convert("RGB")) for each in (source, edited["id"]))
    assert edited["sources"][0] == source
    assert before.shape == after.shape == (FINAL, FINAL, 3)
    assert 0 < (mask > 0).mean() < 0.6
    assert np.array_equal(before[mask == 0], after[mask == 0])
    assert not np.array_equal(before[mask > 0], after[mask > 0])


@pytest.mark.parametrize("leave", ["cancel", "close the tab"])
def test_work_ends_with_its_tab(there: Studio, engine: Metrics, leave: str) -> None:
    there.open()
    there.page.get_by_label("Caption", exact=True).fill("red cat")
    there.page.get_by_text("Advanced").click()
    there.page.get_by_role("group", name="Decoder").get_by_label("Steps").fill("400")
    there.page.get_by_role("button", name="Generate").click()
    expect(there.page.locator(".job .status")).to_contain_text("Decoder, step", timeout=1000 * PATIENCE_S)
    assert running(engine) > 0
    if leave == "cancel":
        there.page.get_by_role("button", name="Cancel").click()
    else:
        there.page.close()
    end = time.monotonic() + PATIENCE_S
    while running(engine) and time.monotonic() < end:
        time.sleep(0.02)
    assert running(engine) == 0


def running(engine: Metrics) -> float:
    """Samples under way in the decoder."""
    return engine.total("unclip_rows_running", stage="decoder")
