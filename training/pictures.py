"""Picture-caption pairs: which concepts, drawn how, and with which words.

A pair is one (concept, style): a square picture with transparency, and the words to build captions from.
Backgrounds are put behind it when a batch is made, so that the caption can name them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import resvg_py
from PIL import Image

from training.sources import Source, fetch, load_json, manifest, members
from unclip.checkpoints.manifest import digest

KEPT = 2  # how pictures are kept: those that were kept otherwise are rendered anew
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
GROUPS = {0, 1, 3, 4, 5, 6, 7, 8}  # emojibase's groups without skin-tone components (2) and flags (9)
SHORTCODES = ("github", "emojibase", "iamcal", "joypixels")  # Emojibase's collections of names
PLAIN_WORDS = re.compile(r"[a-z]{3,}( [a-z]{2,})*")
MIRRORING = {0, 3, 4}  # faces, animals and plants, food


@dataclass(frozen=True)
class Pair:
    """One picture and its words. rgba: uint8 ``[S, S, 4]``; synonyms: other names of what it shows."""

    label: str
    tags: tuple[str, ...]
    style: str
    rgba: npt.NDArray[np.uint8]
    group: int = 0
    synonyms: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names the pair in the split file."""
        return f"{self.style}/{self.label}"

    @property
    def mirrors(self) -> bool:
        """Whether it may be mirrored: no letters, no clock, no hand that becomes the other one."""
        return self.group in MIRRORING


def composite(rgba: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """The picture over a plain colour: uint8 ``[S, S, 3]``."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(rgba[..., :3] * alpha + np.asarray(colour, np.float32) * (1 - alpha)).astype(np.uint8)


def pairs(concepts: set[str] | None, styles: tuple[str, ...], size: int, cache: Path) -> list[Pair]:
    """All pairs of these concepts (None: every one) and styles, rendered once and kept in ``cache`` (npy).

    Raises:
        RuntimeError: what is kept is damaged, or was changed: weights may have learned from what it was.
    """
    asked = hashlib.sha256(repr([KEPT, sorted(concepts or ()), styles, size, manifest()]).encode()).hexdigest()
    if (kept := kept_in(cache, asked)) is None:
        kept = render(concepts, styles, size)
        keep(kept[1], kept[0], asked, cache)
    words, pictures = kept
    return [
        Pair(w["label"], tuple(w["tags"]), w["style"], p, w["group"], tuple(w["synonyms"]))
        for w, p in zip(words, pictures, strict=True)
    ]


def kept_in(cache: Path, asked: str) -> tuple[list[dict[str, Any]], npt.NDArray[np.uint8]] | None:
    """What `keep` wrote, None where that is nothing or something else was asked for."""
    told = cache.with_suffix(".json")
    if not told.exists():
        return None
    try:
        kept = json.loads(told.read_text())
        if not isinstance(kept, dict) or kept.get("asked") != asked:
            return None
        words = kept["words"]
        if kept.get("sha256") != sealed(words, cache):
            raise ValueError("it does not have its digest")
        return words, np.load(cache)
    except (OSError, ValueError, KeyError) as error:
        raise RuntimeError(
            f"{cache} is damaged or was changed; without {told.name} beside it it is rendered anew: {error}"
        ) from error


def keep(pictures: npt.NDArray[np.uint8], words: list[dict[str, Any]], asked: str, cache: Path) -> None:
    """Writes pictures into ``cache`` and their words into a JSON beside it, which says what was ``asked`` for."""
    told = cache.with_suffix(".json")
    told.unlink(missing_ok=True)  # what is cut short is rendered again
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, pictures)
    told.with_suffix(".tmp").write_text(json.dumps({"asked": asked, "sha256": sealed(words, cache), "words": words}))
    told.with_suffix(".tmp").replace(told)


def sealed(words: object, cache: Path) -> str:
    """Digest of pictures and their words together."""
    return hashlib.sha256(f"{digest(cache)} {json.dumps(words)}".encode()).hexdigest()


def render(
    concepts: set[str] | None, styles: tuple[str, ...], size: int
) -> tuple[list[dict[str, Any]], npt.NDArray[np.uint8]]:
    """The pairs' words, and their pictures, uint8 ``[N, size, size, 4]``."""
    by_style = {source.style: source for source in manifest()}
    entries = [
        entry
        for entry in load_json(by_style[""], "en/data.json")
        if entry.get("group") in GROUPS and (concepts is None or entry["label"] in concepts)
    ]
    named = synonyms(by_style[""], entries)
    words: list[dict[str, Any]] = []
    pictures: list[npt.NDArray[np.uint8]] = []
    for style in styles:
        draw = Artist(by_style[style], size)
        for entry in entries:
            picture = draw(entry)
            if picture is not None:
                said = {key: entry.get(key, []) for key in ("label", "tags", "group")}
                words.append({**said, "style": style, "synonyms": named[entry["label"]]})
                pictures.append(picture)
    return words, np.stack(pictures)


def synonyms(source: Source, entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Other names of each entry by its label: those chat programs type between colons, where they are plain words that
    name no other entry."""
    found: dict[str, set[str]] = {entry["label"]: set() for entry in entries}
    owners: dict[str, set[str]] = {label: {label} for label in found}
    for where in SHORTCODES:
        codes = load_json(source, f"en/shortcodes/{where}.json")
        for entry in entries:
            names = codes.get(entry["hexcode"], [])
            for name in [names] if isinstance(names, str) else names:
                words = name.replace("_", " ").replace("-", " ")
                if PLAIN_WORDS.fullmatch(words):
                    found[entry["label"]].add(words)
                    owners.setdefault(words, set()).add(entry["label"])
    return {
        label: sorted(name for name in names if name != label and owners[name] == {label})
        for label, names in found.items()
    }


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
