"""``python -m tests.studio.screenshots``: makes the pictures of the studio in docs/pictures, from services of its own.

Takes some minutes: everything in them is made by the embedded checkpoint meanwhile, at the seeds below.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser

from tests.studio.browsing import DESKTOP, PHONE, Studio, chromium, studio
from unclip.local.stack import LocalStack, find_checkpoint

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
MAX_BYTES, MAX_WIDTH = 150_000, 1600
PATIENCE_MS, SETTLE_MS = 120_000, 500
STRAWBERRY = "a 3d emoji of a strawberry"
APPLE, GREEN = "a flat emoji of a red apple", "a flat emoji of a green apple"
CAPTIONS = ("a flat emoji of a birthday cake", "a flat emoji of a sunflower", "a flat emoji of an umbrella", APPLE)
GAP = 48

Scheme = Literal["dark", "light"]


def main() -> None:
    """Makes all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--root", help="of a page that is served already, in the place of services of its own")
    chosen = parser.parse_args()
    with chromium() as browser:
        if chosen.root:
            shoot(browser, chosen.root, chosen.out)
            return
        with LocalStack(find_checkpoint(), web_port=0) as stack:
            shoot(browser, f"http://{stack.web_address}", chosen.out)


def shoot(browser: Browser, root: str, out: Path) -> None:
    """The screenshots of the page at ``root``, into ``out``: all from one window, which has its pictures."""
    with studio(browser, root, DESKTOP, device_scale_factor=2) as here:
        here.page.set_default_timeout(PATIENCE_MS)

        def shown(size: tuple[int, int], scheme: Scheme, view: Callable[[Studio], None]) -> bytes:
            here.page.set_viewport_size({"width": size[0], "height": size[1]})
            here.page.emulate_media(color_scheme=scheme)
            view(here)
            here.page.wait_for_timeout(SETTLE_MS)
            return here.page.screenshot()

        prepare(here)
        keep(out / "studio-generate.webp", [shown(DESKTOP, "light", generating)])
        here.finished(STRAWBERRY)
        keep(out / "studio-text-diff.webp", [shown(DESKTOP, "light", text_diff)])
        keep(out / "studio-edit.webp", [shown(DESKTOP, "dark", editing)])
        phones = [
            shown(PHONE, "light", history),
            shown(PHONE, "dark", trajectory),
            shown(PHONE, "light", arithmetic),
        ]
        keep(out / "studio-phone.webp", phones)


def prepare(here: Studio) -> None:
    """Makes pictures to be among the earlier ones."""
    for caption in CAPTIONS:
        here.generate(caption, count=4, seed=1)
    here.page.reload()


def generating(here: Studio) -> None:
    """Four pictures on their way, above those before them."""
    here.open()
    here.page.get_by_label("Caption", exact=True).fill(STRAWBERRY)
    here.page.get_by_label("Seed", exact=True).fill("1")
    here.page.get_by_role("button", name="Generate").click()
    here.page.locator("img.preview").nth(3).wait_for()
    here.page.get_by_text(re.compile("Decoder, step ([6-9]|1.)")).wait_for()


def history(here: Studio) -> None:
    """All pictures."""
    here.open("#/pictures")
    here.page.locator(".tile img[src]").nth(5).wait_for()


def apple(here: Studio) -> None:
    """The page of the apple."""
    here.open("#/pictures")
    here.page.get_by_label("Search your pictures").fill(f"{APPLE} generate")
    here.page.locator(".history .tile").last.click()
    here.page.locator(".picture .stage img[src]").wait_for()


def text_diff(here: Studio) -> None:
    """An apple half-way to a green one."""
    apple(here)
    here.tab("Text diff")
    here.page.get_by_label("What it should show").fill(GREEN)
    here.page.get_by_role("button", name="Transform").click()
    here.page.locator('.job[data-state="done"]').wait_for()
    here.page.locator(".ticks .there").nth(8).wait_for()
    here.page.get_by_label("Text diff, θ").fill("0.3")
    here.page.evaluate("scrollTo(0, 0)")


def trajectory(here: Studio) -> None:
    """Its frames again, out of the history."""
    here.open("#/pictures")
    here.page.get_by_label("Search your pictures").fill("textdiff")
    here.page.locator(".history .tile").first.click()
    here.page.get_by_label("Frame, by θ").fill("0.2")


def editing(here: Studio) -> None:
    """An apple with a mask painted on it."""
    apple(here)
    here.tab("Edit")
    box = here.page.locator("canvas.paint").bounding_box()
    assert box is not None
    for height in (0.55, 0.65, 0.75):
        here.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * height)
        here.page.mouse.down()
        here.page.mouse.move(box["x"] + box["width"] * 0.72, box["y"] + box["height"] * height, steps=6)
        here.page.mouse.up()
    here.page.get_by_label("What the whole picture should show").fill("a flat emoji of a red apple with a bite")


def arithmetic(here: Studio) -> None:
    """An apple, and the words that make it green."""
    apple(here)
    here.page.get_by_role("link", name="Calculate with it").click()
    for sign, caption in (("+", GREEN), ("−", APPLE)):
        here.page.get_by_role("button", name=f"{sign} Caption").click()
        here.page.locator(".board input").last.fill(caption)
    here.page.locator("h1").click()


def keep(path: Path, shots: Sequence[bytes]) -> None:
    """Writes screenshots side by side. Raises ValueError where that is a large file."""
    pictures = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, pictures[0].height), (128, 128, 128))
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    most = MAX_WIDTH / sheet.width
    sheet = sheet.resize((MAX_WIDTH, round(sheet.height * most)), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "WEBP", quality=82, method=6)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
