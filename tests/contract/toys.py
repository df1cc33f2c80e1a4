"""Every family at the size of a toy: what its stages take and give, whether they are stubs or real."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tiny import BASE, CONTEXT, DEFAULTS, FAST, FINAL, WIDTH
from unclip.families.family import Family
from unclip.families.kandinsky import KANDINSKY
from unclip.families.stable_unclip import STABLE_UNCLIP
from unclip.options import SamplingSettings, ServiceName, Sizes
from unclip.testing import StubModel
from unclip.testing.model import CHANNELS, SCALE

if TYPE_CHECKING:
    from tests.contract.services import Method

OWN = 64  # px a side, of those that walk latents
SIZES = Sizes(multiple=64, smallest=64, largest=192, max_pixels=128 * 128)


@dataclass(frozen=True)
class Toy:
    """A stack. model: what its stages tell, stubs or real ones. make: writes a real one's checkpoint into a folder and
    returns what to load. states: H of the token states that its decoder reads, where these are its own encoder's."""

    model: StubModel
    make: Callable[[Path], Path] | None = None
    states: int | None = None

    @property
    def latents(self) -> bool:
        """Whether its decoder walks them, and an autoencoder follows in place of an upsampler that draws noise."""
        return self.model.sizes is not None

    @property
    def base(self) -> tuple[int, int, int]:
        """``[C, h, w]`` of what its decoder walks."""
        return (CHANNELS, OWN // SCALE, OWN // SCALE) if self.latents else (3, BASE, BASE)

    @property
    def seeded(self) -> tuple[Method, ...]:
        """Whose result follows from a seed."""
        return ("sample", "decode") if self.latents else ("sample", "decode", "upsample")

    @property
    def keeping(self) -> tuple[Method, ...]:
        """Whose result holds known pixels as they are: latents do not, the picture that is made of them does."""
        return ("upsample",) if self.latents else ("decode", "upsample")

    def steps(self, method: Method, asked: int) -> int:
        """How many a method takes: an autoencoder, one; an inversion, two passes for each."""
        if method == "invert":
            return 2 * asked
        return 1 if self.latents and method == "upsample" else asked

    def defaults(self, stage: ServiceName) -> SamplingSettings:
        """Of a stage's sampling."""
        found: SamplingSettings = getattr(self.model, stage)
        return found


def _settings(stage: str) -> SamplingSettings:
    told = DEFAULTS[stage]
    return SamplingSettings(told["sampler"], told["steps"], told["guidance_scale"])  # type: ignore[arg-type]


MODEL = StubModel(
    dim=WIDTH,
    context=CONTEXT,
    base_size=BASE,
    final_size=FINAL,
    prior=_settings("prior"),
    decoder=_settings("decoder"),
    upsampler=_settings("upsampler"),
)


def _fast(stage: str) -> SamplingSettings:
    told = FAST[stage]
    return SamplingSettings(told["sampler"], told["steps"], told["guidance_scale"])  # type: ignore[arg-type]


TAUGHT = replace(MODEL, fast=_fast("decoder"), fast_upsampler=_fast("upsampler"), quality="fast")


def _painter(family: Family, ignores_text: bool) -> StubModel:
    """What stages of a family that walks latents tell."""
    settings = family.defaults
    return replace(
        MODEL,
        base_size=OWN,
        final_size=OWN,
        prior=settings["prior"],
        decoder=settings["decoder"],
        upsampler=settings["upsampler"],
        sizes=SIZES,
        ignores_text=ignores_text,
    )


def _karlo(folder: Path) -> Path:
    from tests.tiny import make_tiny_checkpoint

    return make_tiny_checkpoint(folder / "tiny")


def _taught(folder: Path) -> Path:
    from tests.tiny import make_tiny_checkpoint

    return make_tiny_checkpoint(folder / "taught", quality="fast")


def _kandinsky(folder: Path) -> Path:
    from tests.kandinsky import make_tiny_kandinsky

    return make_tiny_kandinsky(folder)[1]


def _stable_unclip(folder: Path) -> Path:
    from tests.stable_unclip import make_tiny_stable_unclip

    return make_tiny_stable_unclip(folder)[1]


TOYS = {
    "stub": Toy(MODEL),
    "real": Toy(MODEL, _karlo),
    "stub with a student": Toy(TAUGHT),
    "real with a student": Toy(TAUGHT, _taught),
    "stub of latents": Toy(_painter(KANDINSKY, ignores_text=True)),
    "Kandinsky": Toy(_painter(KANDINSKY, ignores_text=True), _kandinsky),
    "Stable unCLIP": Toy(_painter(STABLE_UNCLIP, ignores_text=False), _stable_unclip, states=24),
}
PLAIN = ("stub", "real")  # Karlo's shapes, which the embedded model has too
STUDENTS = ("stub with a student", "real with a student")


def each(methods: Callable[[Toy], Iterable[Method]]) -> pytest.MarkDecorator:
    """Parametrises a test by toy and method, with those methods of every toy."""
    cases = [(name, method) for name, toy in TOYS.items() for method in methods(toy)]
    return pytest.mark.parametrize(("toy", "method"), cases, indirect=["toy"], scope="module")
