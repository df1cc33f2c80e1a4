"""How large a run is: which pictures, which networks, how long each stage trains."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.pictures import HELD_OUT, Pair, pairs, split
from training.views import Variety

PLAIN = Variety()
CPU_CONCEPTS = Path(__file__).with_name("concepts_cpu.txt")


@dataclass(frozen=True)
class Preset:
    """One size of the recipe.

    width: of both CLIP encoders, of their embeddings and of the text states alike, as in Karlo (768 there).
    size, base_size, clip_size: sides in px of the final picture, of the decoder's and of what CLIP sees.
    variety: of views; moved: whether prior, decoder and upsampler see drawings moved as well, as CLIP always does;
    views: of every picture, for prior and decoder.
    rates: peak learning rates. start: a checkpoint whose weights the stages begin with; CLIP is then kept as it is.
    """

    name: str
    concepts: tuple[str, ...] | None
    styles: tuple[str, ...]
    width: int = 192
    clip_layers: int = 4
    vocabulary: int = 1024
    context: int = 24
    patch: int = 16
    prior_layers: int = 4
    decoder_channels: tuple[int, ...] = (64, 64, 96, 128)
    upsampler_channels: tuple[int, ...] = (32, 64, 96)
    size: int = 128
    base_size: int = 32
    clip_size: int = 64
    clip_steps: int = 2000
    prior_steps: int = 6000
    decoder_steps: int = 6000
    upsampler_steps: int = 2500
    batch: int = 64
    decoder_batch: int = 64
    decoder_rate: float = 1e-3
    upsampler_rate: float = 1e-3
    prior_rate: float = 5e-4
    start: Path | None = None
    variety: Variety = PLAIN
    moved: bool = False
    views: int = 8
    judge_steps: int = 1500
    judged_widely: bool = True

    @property
    def folder(self) -> Path:
        """Where this run keeps its state."""
        return Path("out/training") / self.name

    def everything(self, cache: str) -> list[Pair]:
        """All pairs, taught or not, rendered once into ``out/data/<cache>-<size>.npy``."""
        concepts = None if self.concepts is None else set(self.concepts)
        return pairs(concepts, self.styles, self.size, Path("out/data") / f"{cache}-{self.size}.npy")

    def pairs(self) -> tuple[list[Pair], list[Pair]]:
        """(taught, held out). The held-out keys are committed, so that every run leaves out the same pictures."""
        items = self.everything(self.name)
        known = json.loads(HELD_OUT.read_text()) if HELD_OUT.exists() else {}
        keys = set(known.get(self.name) or split(items))
        return [p for p in items if p.key not in keys], [p for p in items if p.key in keys]


PRESETS = {
    "cpu": Preset(
        "cpu",
        tuple(CPU_CONCEPTS.read_text().splitlines()),
        ("flat", "noto", "3d"),
        decoder_steps=7000,
        decoder_batch=32,
    ),
    "full": Preset(
        "full",
        None,
        ("flat", "noto", "3d", "twitter", "blob", "emojione", "firefox", "glossy", "black and white"),
        width=384,
        clip_layers=8,
        vocabulary=4096,
        patch=8,
        prior_layers=8,
        decoder_channels=(96, 96, 192, 288),
        clip_steps=20000,
        prior_steps=60000,
        decoder_steps=60000,
        upsampler_steps=30000,
        batch=256,
    ),
    "smoke": Preset(
        "smoke",
        ("red apple", "banana", "dog face", "red heart"),
        ("flat", "noto"),
        width=64,
        clip_layers=2,
        vocabulary=320,
        prior_layers=1,
        decoder_channels=(32, 32, 64),
        upsampler_channels=(32, 32, 32),
        clip_steps=3,
        prior_steps=3,
        decoder_steps=3,
        upsampler_steps=3,
        batch=4,
    ),
}
