"""Each capability clicked through in a browser, on the stubbed stack."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.studio.browsing import Studio
from tests.web.stacks import WebStack, opened, picture
from unclip import Client, Generate, Interpolate, TextDiff, Vary, read_recipe
from unclip.client.vectors import combine


def test_a_caption_becomes_the_clients_pictures_which_outlive_the_tab(here: Studio, stack: WebStack) -> None:
    here.generate("a red apple", count=2, seed=7)
    expect(here.page.locator(".job .tile img")).to_have_count(2)
    with Client(stack.gateway) as client:
        wanted = {
            hashlib.sha256(image.data).hexdigest() for image in client.generate("a red apple", seed=7, image_count=2)
        }
    assert {each["id"] for each in here.pictures()} == wanted
    here.page.reload()
    expect(here.page.get_by_role("region", name="Recent pictures").locator(".tile")).to_have_count(2)


def test_a_seed_is_thrown_kept_and_recalled(here: Studio) -> None:
    here.open()
    seed = here.page.get_by_label("Seed", exact=True)
    here.page.get_by_role("button", name="Throw a seed").click()
    thrown = seed.input_value()
    assert int(thrown) >= 0
    here.page.get_by_label("Caption", exact=True).fill("a")
    here.page.get_by_label("Pictures", exact=True).fill("1")
    here.page.get_by_role("button", name="Generate").click()
    expect(seed).to_have_value("")
    here.page.get_by_role("button", name="The seed before").click()
    expect(seed).to_have_value(thrown)
    here.page.get_by_role("button", name="Keep this seed").click()
    here.page.get_by_role("button", name="Generate").click()
    expect(seed).to_have_value(thrown)
    expect(here.page.locator('.job[data-state="done"]')).to_have_count(2)
    assert {each["seed"] for each in here.pictures()} == {thrown}


def test_a_seed_is_a_whole_number_of_64_bits(here: Studio) -> None:
    here.open()
    seed = here.page.get_by_label("Seed", exact=True)
    for text, taken in ((str(2**63), False), (str(-(2**63)), True), ("1.5", False), ("abc", False), (" 7 ", True)):
        seed.fill(text)
        assert (text, seed.evaluate("field => field.validity.valid")) == (text, taken)
    here.page.get_by_label("Caption", exact=True).fill("a red apple")
    here.page.get_by_role("button", name="Generate").click()
    here.finished("a red apple")
    assert "7" in {each["seed"] for each in here.pictures()}


def test_settings_are_in_the_recipe_and_what_is_wrong_is_said_by_its_field(here: Studio) -> None:
    here.open()
    here.page.get_by_role("button", name="Generate").click()
    expect(here.page.get_by_role("alert")).to_contain_text("Describe a picture first")
    here.page.get_by_label("Caption", exact=True).fill("a red apple")
    here.page.get_by_label("Pictures", exact=True).fill("2")
    here.page.get_by_text("Advanced").click()
    expect(here.page.get_by_label("Size", exact=True).and_(here.page.locator("input"))).to_be_visible()
    expect(here.page.get_by_label("Width", exact=True)).to_be_hidden()  # this model paints squares of one size
    here.page.get_by_label("Best of").fill("4")
    here.page.get_by_label("Steer away from").fill("a leaf")
    decoder = here.page.get_by_role("group", name="Decoder")
    decoder.get_by_label("Sampler").select_option(label="DPM++ 2M")
    decoder.get_by_label("Steps").fill("4")
    here.page.get_by_role("button", name="Generate").click()
    here.finished("a red apple")
    best = here.pictures()[-1]
    recipe = read_recipe(here.stored(best["id"])).request
    assert isinstance(recipe, Generate)
    assert (recipe.negative_caption, recipe.decoder.sampler, recipe.decoder.steps) == ("a leaf", "dpm++2m", 4)
    assert best["score"] <= 1
    here.page.get_by_label("Best of").fill("1")
    here.allowed = ("400",)
    here.page.get_by_role("button", name="Generate").click()
    expect(here.page.locator('.job[data-state="failed"]')).to_contain_text("generate.candidates: must be")


def test_suggestions_are_the_models_examples_and_words(here: Studio) -> None:
    told = {
        "model": {
            "name": "m",
            "version": "1",
            "captions": ["a red apple", "a blue car"],
            "vocabulary": {"concepts": ["carrot"]},
        }
    }
    here.page.route("**/api/v1/model*", lambda route: route.fulfill(json=told))
    here.open()
    chips = here.page.get_by_role("group", name="Suggestions").get_by_role("button")
    expect(chips).to_have_text(["a red apple", "a blue car"])
    here.page.get_by_label("Caption", exact=True).fill("a car")
    expect(chips).to_have_text(["a blue car", "a carrot"])
    chips.last.click()
    expect(here.page.get_by_label("Caption", exact=True)).to_have_value("a carrot")


def test_a_picture_is_varied_as_far_as_the_slider_says(here: Studio, stack: WebStack) -> None:
    source = here.stored(here.picture())
    here.page.get_by_label("How far to stray").fill("0.3")
    here.page.get_by_label("Pictures", exact=True).fill("2")
    here.page.get_by_label("Seed", exact=True).fill("3")
    here.page.get_by_role("button", name="Vary", exact=True).click()
    here.finished("Variations of a red apple")
    with Client(stack.gateway) as client:
        wanted = [image.data for image in client.vary(source, image_count=2, eta=0.3, seed=3)]
    made = [each for each in here.pictures() if each["kind"] == "vary"]
    assert sorted(here.stored(each["id"]) for each in made) == sorted(wanted)
    recipe = read_recipe(wanted[0]).request
    assert isinstance(recipe, Vary)


def test_a_text_diff_is_scrubbed_by_theta_and_saved_as_an_animation(here: Studio) -> None:
    here.picture()
    here.tab("Text diff")
    expect(here.page.get_by_label("What it shows")).to_have_value("a red apple")
    here.page.get_by_role("button", name="Transform").click()
    expect(here.page.get_by_role("alert")).to_contain_text("Say what the picture should show")
    here.page.get_by_label("What it should show").fill("a green apple")
    here.page.get_by_label("Frames").fill("5")
    here.page.get_by_role("button", name="Transform").click()
    canvas, theta = here.page.locator(".stage canvas"), here.page.get_by_label("Text diff, θ")
    here.finished("a red apple → a green apple")
    expect(here.page.locator(".ticks .there")).to_have_count(5)
    for value, frame in (("0", "0"), ("0.26", "2"), ("0.5", "4")):
        theta.fill(value)
        expect(canvas).to_have_attribute("data-frame", frame)
    for key, frame in (("ArrowLeft", "3"), ("ArrowLeft", "2"), ("ArrowRight", "3")):  # from frame to frame
        theta.press(key)
        expect(canvas).to_have_attribute("data-frame", frame)
    with here.page.expect_download() as saving:
        here.page.get_by_role("button", name="Save as WebP").click()
    film = Image.open(saving.value.path())
    assert (film.format, getattr(film, "n_frames", 1)) == ("WEBP", 8)
    frames = sorted(
        (each for each in here.pictures() if each["kind"] == "textDiff"), key=lambda each: each["film"]["index"]
    )
    recipes = [read_recipe(here.stored(each["id"])).request for each in frames]
    assert [recipe.thetas[0] for recipe in recipes if isinstance(recipe, TextDiff)] == [0, 0.125, 0.25, 0.375, 0.5]
    here.open("#/pictures")
    expect(here.page.locator(".tile")).to_have_count(2)  # the picture, and the frames as one
    here.page.locator(".tile").first.click()
    expect(canvas).to_have_attribute("data-frame", "4")
    here.page.get_by_label("Frame, by θ").fill("0.13")
    here.page.get_by_role("link", name="Open this frame").click()
    expect(canvas).to_have_attribute("data-frame", "1")
    assert here.shown() == frames[1]["id"]
    here.page.get_by_role("button", name="Play").click()
    expect(canvas).to_have_attribute("data-frame", "3")


def test_one_picture_is_dragged_onto_another_to_interpolate(here: Studio) -> None:
    here.generate("a red apple", seed=1)
    here.generate("a blue car", seed=2)
    here.open("#/pictures")
    tiles = here.page.locator(".tile")
    tiles.nth(1).drag_to(tiles.nth(0))
    expect(here.page.get_by_role("tab", name="Interpolate")).to_have_attribute("aria-selected", "true")
    expect(here.page.get_by_role("heading", level=1)).to_have_text("a red apple")
    expect(here.page.locator(".other")).to_contain_text("a blue car")
    here.page.get_by_label("Frames").fill("3")
    here.page.get_by_role("button", name="Interpolate", exact=True).click()
    here.finished("a red apple → a blue car")
    expect(here.page.locator(".ticks .there")).to_have_count(3)
    here.open()
    here.page.get_by_label("Caption", exact=True).fill("a robot")
    here.page.locator(".tile").first.drag_to(here.page.get_by_label("Caption", exact=True))
    expect(here.page.get_by_label("or to a caption")).to_have_value("a robot")


def test_interpolation_is_begun_by_keyboard_too_and_goes_to_captions(here: Studio) -> None:
    here.generate("a blue car", seed=2)
    here.picture("a red apple", seed=1)
    here.tab("Interpolate")
    here.page.get_by_role("button", name="Choose a picture…").press("Enter")
    here.page.get_by_label("Search your pictures").fill("car")
    choice = here.page.get_by_role("dialog").locator(".tile")
    expect(choice).to_have_count(1)
    choice.press("Enter")
    expect(here.page.locator(".other")).to_contain_text("a blue car")
    here.page.get_by_role("button", name="Take away").press("Enter")
    here.page.get_by_label("or to a caption").fill("a robot")
    here.page.get_by_label("Frames").fill("2")
    here.page.get_by_role("button", name="Interpolate", exact=True).press("Enter")
    here.finished("a red apple → a robot")
    recipe = read_recipe(here.stored(here.pictures()[0]["id"])).request
    assert isinstance(recipe, Interpolate)
    assert recipe.to_caption == "a robot"


def test_a_mask_is_painted_undone_saved_loaded_and_kept_when_the_caption_changes(here: Studio, tmp_path: Path) -> None:
    here.picture()
    here.tab("Edit")
    here.page.get_by_role("button", name="Repaint").click()
    expect(here.page.get_by_role("alert")).to_contain_text("Paint over what should change first")
    canvas = here.page.locator("canvas.paint")
    box = canvas.bounding_box()
    assert box is not None

    def stroke() -> None:
        here.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)
        here.page.mouse.down()
        here.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.5, steps=4)
        here.page.mouse.up()

    def saved() -> np.ndarray:
        with here.page.expect_download() as saving:
            here.page.get_by_role("button", name="Save mask").click()
        return np.asarray(Image.open(saving.value.path()).convert("L"))

    stroke()
    expect(here.page.get_by_role("alert")).to_be_hidden()  # nothing is missing any more
    painted = saved()
    side = painted.shape[0]
    assert set(np.unique(painted)) == {0, 255}
    assert painted[side // 2, side // 2] == 255
    assert painted[side // 8].max() == 0
    here.page.get_by_role("button", name="Eraser").click()
    stroke()
    assert saved().max() == 0
    here.page.get_by_role("button", name="Undo").click()
    assert np.array_equal(saved(), painted)
    here.page.get_by_role("button", name="Redo").click()
    canvas.focus()
    here.page.keyboard.press("Control+z")
    assert np.array_equal(saved(), painted)
    here.page.get_by_role("button", name="Brush").click()
    here.page.get_by_role("button", name="Clear").click()
    canvas.press("ArrowRight")
    canvas.press("Space")
    assert saved().sum() > 0  # painted by keyboard
    file = tmp_path / "mask.png"
    Image.fromarray(painted).save(file)
    here.page.get_by_label("Mask file").set_input_files(file)
    expect(here.page.get_by_role("button", name="Redo")).to_be_disabled()
    assert np.array_equal(saved(), painted)
    for caption in ("a green apple", "a yellow apple"):
        here.page.get_by_label("What the whole picture should show").fill(caption)
        here.page.get_by_role("button", name="Repaint").click()
        here.finished(caption)
    assert np.array_equal(saved(), painted)


def test_a_picture_is_continued_beyond_its_edges(here: Studio) -> None:
    here.picture()
    here.tab("Edit")
    here.page.get_by_label("Room around it").fill("1.5")
    canvas = here.page.locator("canvas.paint")
    before = canvas.screenshot()
    canvas.drag_to(canvas, source_position={"x": 200, "y": 200}, target_position={"x": 120, "y": 240})
    assert canvas.screenshot() != before
    here.page.get_by_role("button", name="Repaint").click()
    here.finished("a red apple")
    made = here.pictures()[0]
    sent = opened(here.stored(made["sources"][0]))
    expect(here.page.locator(".lineage")).to_contain_text("Made from it")
    alpha = np.asarray(sent.getchannel("A"))
    assert sent.width == 384
    assert round(float((alpha == 255).mean()), 3) == round(1 / 1.5**2, 3)


def test_captions_and_pictures_are_added_up_as_the_client_does(here: Studio, stack: WebStack) -> None:
    source = here.stored(here.picture())
    here.page.get_by_role("link", name="Calculate with it").click()
    here.page.get_by_role("button", name="+ Caption").click()
    here.page.get_by_label("Caption of term 2").fill("a green apple")
    here.page.get_by_role("button", name="− Caption").click()
    here.page.get_by_label("Caption of term 3").fill("a red apple")
    here.page.get_by_label("Seed", exact=True).fill("5")
    here.page.get_by_role("button", name="Paint the sum").click()
    here.finished("[a red apple] + “a green apple” − “a red apple”")
    expect(here.page.locator(".job").first).to_be_in_viewport(ratio=0.9)  # below a form as high as the screen
    with Client(stack.gateway) as client:
        found = client.embed(["a green apple", "a red apple"], [source])
        wanted = combine([*found.captions, *found.images], "2+0-1")
    made = here.pictures()[0]
    recipe = read_recipe(here.stored(made["id"])).request
    assert isinstance(recipe, Generate)
    assert recipe.embedding is not None
    assert recipe.embedding.clip_space == wanted.clip_space
    np.testing.assert_array_max_ulp(recipe.embedding.values, wanted.values, 1)
    here.page.locator(".job .tile").first.click()
    expect(here.page.locator(".tree")).to_contain_text("“a green apple”")
    expect(here.page.get_by_role("link", name="Use its caption")).to_have_count(0)  # it has none


def test_a_picture_of_ones_own_is_opened_and_varied(here: Studio, tmp_path: Path) -> None:
    file = tmp_path / "my cat.png"
    file.write_bytes(picture(96))
    here.open()
    here.page.get_by_label("Picture files").set_input_files(file)
    expect(here.page.get_by_role("heading", level=1)).to_have_text("my cat")
    here.page.get_by_label("Pictures", exact=True).fill("1")
    here.page.get_by_role("button", name="Vary", exact=True).click()
    here.finished("Variations of my cat")
    pixels = np.zeros((2400, 1200, 3), np.uint8)
    large = tmp_path / "large.png"
    Image.fromarray(pixels).save(large)
    here.page.get_by_label("Picture files").set_input_files(large)
    expect(here.page.get_by_role("heading", level=1)).to_have_text("large")
    assert Image.open(io.BytesIO(here.stored(here.shown()))).size == (512, 1024)
