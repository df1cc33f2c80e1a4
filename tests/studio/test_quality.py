"""Where the stack has a fast way the page offers a quality; elsewhere nobody is asked for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.studio.browsing import Studio, studio
from tests.web.stacks import WebStack, stubbed
from unclip import Generate, read_recipe


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    with stubbed(tmp_path_factory.mktemp("taught"), stubs=("--fast", "on")) as running:
        yield running


def test_a_quality_is_chosen_painted_and_told(here: Studio) -> None:
    here.open()
    here.page.get_by_text("Advanced").click()
    quality = here.page.get_by_label("Quality", exact=True)
    expect(quality.locator("option").first).to_have_text("Default (standard)")
    quality.select_option(label="fast")
    here.page.get_by_label("Caption", exact=True).fill("a quick apple")
    here.page.get_by_label("Pictures", exact=True).fill("1")
    here.page.get_by_role("button", name="Generate").click()
    here.finished("a quick apple")
    [made] = here.pictures()
    recipe = read_recipe(here.stored(made["id"])).request
    assert isinstance(recipe, Generate)
    assert (recipe.quality, recipe.decoder.steps) == ("fast", 2)


def test_who_has_no_choice_is_not_asked(browser: Browser, tmp_path: Path) -> None:
    with stubbed(tmp_path) as plain, studio(browser, plain.root) as page:
        page.open()
        page.page.get_by_text("Advanced").click()
        expect(page.page.get_by_label("Steps", exact=True).first).to_be_visible()
        expect(page.page.get_by_label("Quality", exact=True)).to_be_hidden()


def test_what_is_empty_shows_the_default_of_the_quality_that_is_painted(browser: Browser, tmp_path: Path) -> None:
    with stubbed(tmp_path, stubs=("--fast", "default")) as usual, studio(browser, usual.root) as here:
        here.open()
        here.page.get_by_text("Advanced").click()
        steps, quality = here.page.get_by_label("Steps", exact=True), here.page.get_by_label("Quality", exact=True)
        decoder, upsampler = steps.nth(1), steps.nth(2)
        guidance, away = here.page.get_by_label("Guidance").nth(1), here.page.get_by_label("Steer away from")

        def expected(of_decoder: str, of_upsampler: str) -> None:
            expect(decoder).to_have_attribute("placeholder", of_decoder)
            expect(upsampler).to_have_attribute("placeholder", of_upsampler)

        expected("2", "1")
        quality.select_option(label="standard")
        expected("8", "3")
        quality.select_option(value="")
        for field, said in ((away, "a dog"), (guidance, "8.5"), (decoder, "9")):  # each asks for what a student has not
            expected("2", "1")
            field.fill(said)
            expected("8", "3")
            field.fill("")
        quality.select_option(label="fast")
        guidance.fill("8.5")
        expected("2", "1")  # it is refused, and not painted otherwise
