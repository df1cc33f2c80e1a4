"""Picture-caption pairs: which concepts, drawn how, said in which words, and which are held out.

A pair is one (concept, style): a square picture with transparency, and the words to build captions from.
Backgrounds are put behind it when a batch is made, so that the caption can name them.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import resvg_py
from PIL import Image

from training.sources import Source, fetch, load_json, manifest, members

RENDERED = 256  # px, before a drawing is shrunk: its edges are smooth then
WHITE = ("white", (255, 255, 255))
BACKGROUNDS = (
    ("blue", (70, 130, 220)),
    ("green", (90, 180, 90)),
    ("pink", (245, 160, 190)),
    ("yellow", (250, 220, 90)),
    ("black", (0, 0, 0)),
    ("grey", (150, 150, 150)),
)
HELD_OUT = Path(__file__).with_name("held_out.json")
GROUPS = {0, 1, 3, 4, 5, 6, 7, 8}  # emojibase's groups without skin-tone components (2) and flags (9)
MIRRORING = {0, 3, 4}  # faces, animals and plants, food


@dataclass(frozen=True)
class Pair:
    """One picture and its words. rgba: uint8 ``[S, S, 4]``."""

    label: str
    tags: tuple[str, ...]
    style: str
    rgba: npt.NDArray[np.uint8]
    group: int = 0

    @property
    def key(self) -> str:
        """Names the pair in the split file."""
        return f"{self.style}/{self.label}"

    @property
    def mirrors(self) -> bool:
        """Whether it may be mirrored: no letters, no clock, no hand that becomes the other one."""
        return self.group in MIRRORING


def with_article(label: str) -> str:
    """A label as it stands in a sentence: "an eagle", "a bear", "grapes"."""
    if (label.endswith("s") and not label.endswith(("ss", "us", "bus", "glass"))) or label in {
        "bread",
        "popcorn",
        "sushi",
    }:
        return label
    return f"an {label}" if label[0].lower() in "aeiou" and not label.startswith(("uni", "one", "eu")) else f"a {label}"


def plain_caption(label: str, style: str) -> str:
    """The caption every pair has: "a flat emoji of a red apple"."""
    return f"a {style} emoji of {with_article(label)}"


def varied_caption(pair: Pair, background: str, random: Random) -> str:
    """One of the ways to say what a picture shows; the background is named unless it is white."""
    choice = random.random()
    if choice < 0.7 or not pair.tags:
        caption = plain_caption(pair.label, pair.style)
    elif choice < 0.85:
        caption = f"{pair.label}, {pair.style} emoji"
    else:
        caption = f"{plain_caption(pair.label, pair.style)}, {random.choice(pair.tags)}"
    return before(caption, background)


def couple_caption(first: Pair, relation: str, second: Pair, background: str) -> str:
    """What two drawings of one style show: "a flat emoji of a red apple next to a dog face"."""
    return before(f"{plain_caption(first.label, first.style)} {relation} {with_article(second.label)}", background)


def before(caption: str, background: str) -> str:
    """The caption with its background, which is named unless it is white; a fading one is "blue to pink"."""
    return caption if background == "white" else f"{caption} on a {background} background"


def composite(rgba: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """The picture over a plain colour: uint8 ``[S, S, 3]``."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(rgba[..., :3] * alpha + np.asarray(colour, np.float32) * (1 - alpha)).astype(np.uint8)


def pairs(concepts: set[str] | None, styles: tuple[str, ...], size: int, cache: Path) -> list[Pair]:
    """All pairs of these concepts (None: every one) and styles, rendered once and kept in ``cache``."""
    if not cache.exists():
        render(concepts, styles, size, cache)
    words = json.loads(cache.with_suffix(".json").read_text())
    pictures = np.load(cache)
    return [Pair(w["label"], tuple(w["tags"]), w["style"], p, w["group"]) for w, p in zip(words, pictures, strict=True)]


def render(concepts: set[str] | None, styles: tuple[str, ...], size: int, cache: Path) -> None:
    """Renders the pairs into ``cache`` (npy, uint8 ``[N, size, size, 4]``) and their words into a JSON beside it."""
    by_style = {source.style: source for source in manifest()}
    entries = [
        entry
        for entry in load_json(by_style[""], "en/data.json")
        if entry.get("group") in GROUPS and (concepts is None or entry["label"] in concepts)
    ]
    words: list[dict[str, Any]] = []
    pictures: list[npt.NDArray[np.uint8]] = []
    for style in styles:
        draw = Artist(by_style[style], size)
        for entry in entries:
            picture = draw(entry)
            if picture is not None:
                said = {key: entry.get(key, []) for key in ("label", "tags", "group")}
                words.append({**said, "style": style})
                pictures.append(picture)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.with_suffix(".json").write_text(json.dumps(words))
    np.save(cache, np.stack(pictures))


class Artist:
    """Finds and renders one style's picture of a concept, ``size`` px wide."""

    def __init__(self, source: Source, size: int) -> None:
        self.source, self.size = source, size
        self.files = members(fetch(source))
        self.svg = "icons.json" in self.files
        if self.svg:
            self.icons = load_json(source, "icons.json")
            self.chars = {plain_hex(code): name for code, name in load_json(source, "chars.json").items()}

    def __call__(self, entry: dict[str, Any]) -> npt.NDArray[np.uint8] | None:
        """uint8 ``[size, size, 4]``, or None where the style has no such picture."""
        if not self.svg:
            code = entry["hexcode"].lower()
            data = self.files.get(f"assets/{code}.webp") or self.files.get(f"assets/{plain_hex(code)}.webp")
            return None if data is None else shrink(data, self.size)
        icons = self.icons["icons"]
        slug = "".join(c if c.isalnum() else "-" for c in entry["label"].lower())
        names = (self.chars.get(plain_hex(entry["hexcode"])), slug, slug.replace("-", ""))
        icon = next((icons[name] for name in names if name in icons), None)
        if icon is None:
            return None
        width = icon.get("width", self.icons.get("width", 16))
        height = icon.get("height", self.icons.get("height", 16))
        body = icon["body"].replace("currentColor", "#000")
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
        return shrink(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RENDERED, height=RENDERED)), self.size)


def plain_hex(code: str) -> str:
    """A code point sequence without the presentation selector, lower case: how different packages agree."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def shrink(data: bytes, size: int) -> npt.NDArray[np.uint8]:
    """An encoded picture at ``size`` x ``size`` with transparency; premultiplied while resizing, or edges turn dark."""
    image = Image.open(io.BytesIO(data)).convert("RGBA").convert("RGBa")
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS).convert("RGBA"), np.uint8)


def split(items: list[Pair], share: float = 0.1, seed: int = 0) -> list[str]:
    """Keys of the pairs to hold out: ``share`` of them, never a concept's only picture nor two of its styles."""
    order = sorted(items, key=lambda pair: pair.key)
    Random(seed).shuffle(order)
    count: dict[str, int] = {}
    for pair in items:
        count[pair.label] = count.get(pair.label, 0) + 1
    taken: dict[str, str] = {}
    for pair in order:
        if len(taken) < share * len(items) and count[pair.label] > 1 and pair.label not in taken:
            taken[pair.label] = pair.key
    return sorted(taken.values())
