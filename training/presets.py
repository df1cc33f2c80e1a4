"""How large a run is: which pictures, which networks, how long each stage trains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from training.concepts import CONCEPTS, DRAWN, STYLES
from training.pictures import Pair, pairs
from training.split import Split, committed, split
from training.views import Variety
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import STAGE_FOLDERS
from unclip.errors import CheckpointError

PLAIN = Variety()


BEGUN = ("start", "since")  # of data.json: of the checkpoint that was begun with, and of what was taught after that
KEEPABLE = ("clip", "prior", "decoder", "upsampler")  # prior and decoder with CLIP only: they speak of its embeddings


@dataclass(frozen=True)
class Stage:
    """How one network trains: rate is the peak learning rate; minutes end it where steps have not.

    decay: share of the stage, at its end, in which the rate falls to zero, by a cosine. average: how much of the moving
    average of the weights is left after a step.

    The upsampler's batch counts whole pictures; a batch of crops has as many pixels.
    """

    steps: int
    batch: int
    rate: float
    minutes: float = float("inf")
    decay: float = 1.0
    average: float = 0.999


@dataclass(frozen=True)
class Limits:
    """What the caller grants. minutes: to a stage in all, instead of its own; until: `time.monotonic` of the end."""

    minutes: float | None = None
    until: float = float("inf")


@dataclass(frozen=True)
class Preset:
    """One size of the recipe.

    concepts: that CLIP and the judge learn, None for all; drawn: of these, what is drawn, None for all.
    width: of both CLIP encoders, of their embeddings and of the text states alike, as in Karlo (768 there).
    size, base_size, clip_size: sides in px of the final picture, of the decoder's and of what CLIP sees.
    variety: of views; moved: whether prior, decoder and upsampler see lone drawings moved and mirrored as well, as CLIP
    always does;
    views: of every picture, for prior and decoder; with teachers, for those. small: the decoder's first stage, at half
    its size and without its outermost level, by which it grows then; without steps it begins as it is. decoder_kernel:
    side of its first and last convolutions' kernels; 5 spans what one of 3 does at half the size. noises: steps of
    the diffusion for which a decoder sees each view in a batch. teachers: whether CLIP learns from
    pretrained networks. joint, clip ... student: how each stage trains; without steps there is no student. walks: how
    many of the decoder's it learns from. student_channels: the decoder's where there are none; the outermost as many as
    its, since the same conditions are added to both.
    judged_widely: whether the judge learns from the larger preset's styles as well.
    start: a checkpoint whose weights the stages begin with. kept: of KEEPABLE, those that then stay as they are.
    data: the preset whose pictures and split it takes; "": it has its own.
    """

    name: str
    concepts: tuple[str, ...] | None
    styles: tuple[str, ...]
    drawn: frozenset[str] | None = None
    width: int = 192
    clip_layers: int = 4
    vocabulary: int = 1024
    context: int = 24
    patch: int = 16
    prior_layers: int = 4
    decoder_channels: tuple[int, ...] = (64, 64, 96, 128)
    decoder_kernel: int = 3
    student_channels: tuple[int, ...] = ()
    upsampler_channels: tuple[int, ...] = (32, 64, 96)
    size: int = 128
    base_size: int = 32
    clip_size: int = 64
    variety: Variety = PLAIN
    moved: bool = False
    views: int = 8
    noises: int = 1
    teachers: bool = False
    joint: Stage = Stage(3000, 512, 1e-3)
    clip: Stage = Stage(2000, 128, 1e-3)
    prior: Stage = Stage(6000, 128, 5e-4)
    small: Stage = Stage(0, 64, 1e-3)
    decoder: Stage = Stage(7000, 32, 1e-3)
    upsampler: Stage = Stage(2500, 8, 1e-3)
    judge: Stage = Stage(1500, 192, 2e-3)
    student: Stage = Stage(0, 32, 3e-4)
    walks: int = 0
    judged_widely: bool = True
    start: Path | None = None
    kept: tuple[str, ...] = ("clip",)
    data: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError: a run of it could not end, which it would notice after hours."""

        def require(right: bool, field: str, limit: str) -> None:
            if not right:
                raise ValueError(f"preset {self.name}: {field} must be {limit}; got {getattr(self, field)}")

        require(self.decoder_kernel % 2 == 1, "decoder_kernel", "odd")
        for name, stage in (("small", self.small), ("decoder", self.decoder)):
            require(stage.batch % self.noises == 0, "noises", f"a divisor of {name}'s batch, {stage.batch}")
        if self.small.steps:
            wide = self.decoder_channels[:2]
            require(self.decoder_kernel % 4 == 1, "decoder_kernel", "1 more than a multiple of 4, where it grows")
            require(len(set(wide)) == 1 < len(wide), "decoder_channels", "alike in the two outermost, where it grows")
            require(self.base_size % 2 == 0, "base_size", "even, where the decoder grows")
        if self.student.steps and self.student_channels:
            outer = self.decoder_channels[0]
            require(self.student_channels[0] == outer, "student_channels", f"the decoder's in the outermost, {outer}")

    @property
    def pictures(self) -> str:
        """What its pictures and its split are called: presets that share them are asked the same questions."""
        return self.data or self.name

    def keeps(self, stage: str) -> bool:
        """Whether a stage's weights are those it starts with."""
        return self.start is not None and stage in self.kept

    @property
    def folder(self) -> Path:
        """Where this run keeps its state."""
        return Path("out/training") / self.name

    def everything(self, cache: str) -> list[Pair]:
        """All pairs, taught or not, rendered once into ``out/data/<cache>-<size>.npy``."""
        concepts = None if self.concepts is None else set(self.concepts)
        return pairs(concepts, self.styles, self.size, Path("out/data") / f"{cache}-{self.size}.npy")

    def pairs(self) -> tuple[list[Pair], list[Pair]]:
        """(taught, held out) of the concepts that are drawn."""
        taught, held_out = self.known()
        return [p for p in taught if self.draws(p.label)], [p for p in held_out if self.draws(p.label)]

    def draws(self, label: str) -> bool:
        """Whether prior and decoder learn a concept."""
        return self.drawn is None or label in self.drawn

    def known(self) -> tuple[list[Pair], list[Pair]]:
        """(taught, held out). The held-out keys are committed, so that every run leaves out the same pictures."""
        items = self.everything(self.pictures)
        keys = (committed(self.pictures) or split(items)).pairs
        return [p for p in items if p.key not in keys], [p for p in items if p.key in keys]

    def hidden(self) -> Split:
        """What no view may show."""
        return committed(self.pictures) or Split()

    def teaching(self) -> dict[str, Any]:
        """What weights are taught and what is held out from them, as data.json tells it: where that differs, what one
        holds out the other may have been shown."""
        known, held_out = self.known()
        taught = sorted(known, key=lambda pair: pair.key)
        labels = {pair.label for pair in taught}
        pixels = hashlib.sha256()
        for pair in taught:
            pixels.update(pair.key.encode() + pair.rgba.tobytes())
        return {
            "pictures_sha256": pixels.hexdigest(),
            "concepts": len(labels),
            "drawn": sum(self.draws(label) for label in labels),
            "taught_sha256": hashlib.sha256("\n".join(pair.key for pair in taught).encode()).hexdigest(),
            **self.withheld(held_out),
        }

    def withheld(self, held_out: list[Pair]) -> dict[str, list[str]]:
        """What is held out, as data.json tells it. held_out: the pairs."""
        return {
            "held_out": sorted(pair.key for pair in held_out),
            "held_out_colours": sorted(self.hidden().colours),
            "held_out_counts": sorted(self.hidden().counts),
        }


WIDE = Variety(coloured=0.4, fading=0.25, smallest=0.75, mirrored=0.4, couples=0.06, counted=0.1, recoloured=0.3)

# A thousand concepts that are known, seven hundred that are drawn, in eight hours of two cores, and an hour and a half
# for a student.
CPU = Preset(
    "cpu",
    tuple(CONCEPTS.read_text().splitlines()),
    STYLES,
    frozenset(DRAWN.read_text().splitlines()),
    width=256,
    vocabulary=8192,
    context=32,
    patch=8,
    prior_layers=6,
    decoder_channels=(64, 64, 128, 192),
    decoder_kernel=5,
    variety=WIDE,
    views=10,
    noises=2,
    teachers=True,
    joint=Stage(1500, 512, 1e-3),
    clip=Stage(1400, 256, 1e-3),
    prior=Stage(3000, 192, 4e-4),
    small=Stage(26000, 64, 1e-3, decay=0.4, average=0.9995),
    decoder=Stage(8000, 32, 6e-4, decay=0.8, average=0.9995),
    upsampler=Stage(3000, 8, 1e-3),
    judge=Stage(3000, 192, 1e-3),
    student_channels=(64, 64, 128, 96),  # with a student as wide the folder would have 72 MB
    student=Stage(3900, 32, 5e-4, decay=0.7),
    walks=8192,
)

PRESETS = {
    "cpu": CPU,
    # The same pictures and questions on one GPU: 28 minutes of training beside the joint space, in commands of at most
    # ten; within the 64 MB of a checkpoint to embed.
    "full": replace(
        CPU,
        name="full",
        data=CPU.name,
        decoder_channels=(64, 96, 160, 224),
        decoder_kernel=3,
        upsampler_channels=(32, 64, 128),
        views=16,
        moved=True,
        noises=1,
        small=Stage(0, 64, 1e-3),
        clip=Stage(20000, 512, 1e-3, 7),
        prior=Stage(60000, 1024, 3e-4, 3),
        decoder=Stage(60000, 256, 5e-4, 12, decay=0.3, average=0.9995),
        upsampler=Stage(30000, 64, 5e-4, 5),
        judge=Stage(4000, 512, 2e-3, 1),
        student=Stage(0, 32, 6e-4),
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
        decoder_kernel=5,
        upsampler_channels=(32, 32, 32),
        size=64,
        base_size=16,
        variety=Variety(coloured=0.5, fading=0.5, mirrored=0.5, couples=0.5),
        views=2,
        noises=2,
        small=Stage(3, 4, 1e-3),
        clip=Stage(3, 8, 1e-3),
        prior=Stage(3, 8, 1e-3),
        decoder=Stage(3, 4, 1e-3),
        upsampler=Stage(3, 2, 1e-3),
        judge=Stage(3, 8, 1e-3),
        student=Stage(3, 4, 1e-3),
        walks=4,
        judged_widely=False,
    ),
}


def preset_of(checkpoint: Path) -> Preset:
    """The preset that a checkpoint's weights were made with, by its data.json.

    Raises:
        RuntimeError: there is none of that name, or it has other pictures or another split by now: what it holds out
            these weights may have been shown.
    """
    told = data_in(checkpoint)
    preset = PRESETS.get(told["preset"])
    if preset is None:
        raise RuntimeError(f"{checkpoint}: its preset, {told['preset']}, is none of {', '.join(PRESETS)}")
    now = preset.teaching()
    if now != {name: told.get(name) for name in now}:
        raise RuntimeError(f"{checkpoint}: its weights were taught otherwise than preset {preset.name} teaches now")
    return preset


def data_in(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's data.json: its preset and packages at least. Raises RuntimeError: it has none."""
    try:
        told = json.loads((checkpoint / "data.json").read_text())
        require_told(told)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{checkpoint}: no data.json says what its weights were taught: {error}") from error
    found: dict[str, Any] = told
    return found


def require_told(data: object) -> None:
    """Raises ValueError: these are no data of weights, or of those that they began with, see `training.export`."""
    if not isinstance(data, dict):
        raise ValueError(f"it must be an object; got {data!r:.40}")
    if not isinstance(preset := data.get("preset"), str):
        raise ValueError(f"preset must be a name; got {preset!r:.40}")
    packages = data.get("packages")
    if not isinstance(packages, list) or not all(
        isinstance(p, dict) and isinstance(p.get("license"), str) for p in packages
    ):
        raise ValueError(f"packages must be objects with a license; got {packages!r:.40}")
    for name in BEGUN:
        if name in data:
            require_told(data[name])


def require_sound(preset: Preset) -> None:
    """Raises RuntimeError: the checkpoint to begin with is not whole, or held out something else than the preset."""
    if preset.start is None:
        return
    try:
        begun = Checkpoint.open(preset.start)
        if not begun.manifest:
            raise CheckpointError("checkpoint: without unclip.json nothing says whether it is whole")
        begun.verify(sorted({*chain(*STAGE_FOLDERS.values()), *begun.listed}))
    except CheckpointError as error:
        raise RuntimeError(f"{preset.start}: {error}") from error
    told = data_in(preset.start)
    for name, now in preset.withheld(preset.known()[1]).items():
        if told.get(name) != now:
            raise RuntimeError(
                f"{preset.start}: its {name} is not that of preset {preset.name}: its weights may have been shown what "
                "is asked of those that begin with them"
            )
