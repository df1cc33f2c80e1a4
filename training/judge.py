"""The judge: a CLIP trained apart from the model it judges, so that the model is not its own judge.

Other seed, other augmentations, other architecture (convolutions, where the model's CLIP is a transformer), and more
styles of the same concepts. What is held out from the model is held out from the judge: it knows no picture of a
held-out pair, so what it says of the real ones is what generated ones can be held against.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from training import tokenizer
from training.captions import varied_caption
from training.concepts import STYLES
from training.loop import UNLIMITED, arguments, choose, device, fit, normal, uniform
from training.pictures import BACKGROUNDS, WHITE, Pair
from training.presets import CPU, PRESETS, Limits, Preset
from training.replacing import replacing, require_whole
from training.scaling import reduce
from training.views import Variety, Views

FOLDER = Path("checkpoints/judge")
WIDELY = (*STYLES, "black and white")  # what a judge sees besides the preset's own styles
SIZE = 64  # px at which it sees
ABOUT, WEIGHTS, WORDS = "judge.json", "judge.safetensors", "tokenizer"  # what its folder has
TORN = Variety(coloured=0.5, fading=0.3, smallest=0.6, mirrored=0.5)


@dataclass(frozen=True)
class Shape:
    """How large a judge is. width: of the space and the text transformer; channels: of the image encoder's levels."""

    width: int = 128
    layers: int = 2
    channels: tuple[int, ...] = (24, 48, 96, 160)
    context: int = 24
    vocabulary: int = 1024


# By whose pictures; hundreds of concepts want a judge that can tell them apart.
SHAPES = {CPU.name: Shape(192, 3, (32, 64, 128, 224), 32, 4096)}


class Judge(nn.Module):
    """Text transformer and convolutional image encoder into one space of ``shape.width`` dimensions."""

    def __init__(self, words: CLIPTokenizer, shape: Shape) -> None:
        super().__init__()
        self.words, self.shape = words, shape
        width, channels = shape.width, shape.channels
        config = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=shape.layers,
            num_attention_heads=4,
            max_position_embeddings=shape.context,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
        self.text: Any = CLIPTextModelWithProjection(config)
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GroupNorm(8, after), nn.GELU()]
            layers += [Residual(after)]
        self.image = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels[-1], width))
        self.log_scale = nn.Parameter(torch.tensor(2.66))

    def read(self, captions: Sequence[str]) -> torch.Tensor:
        """Unit vectors ``[B, width]``."""
        batch = self.words(
            list(captions), padding="max_length", truncation=True, max_length=self.shape.context, return_tensors="pt"
        ).to(self.log_scale.device)
        out = self.text(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        return functional.normalize(out.text_embeds.float())

    def see(self, pictures: torch.Tensor) -> torch.Tensor:
        """Unit vectors ``[B, width]`` of pictures ``[B, 3, H, H]`` in [-1, 1], seen at 64 px."""
        return functional.normalize(self.image(reduce(pictures, SIZE)).float())

    @torch.no_grad()
    def read_all(self, captions: Sequence[str]) -> npt.NDArray[np.float32]:
        """`read` in batches, on the host."""
        parts = [self.read(captions[i : i + 128]).cpu().numpy() for i in range(0, len(captions), 128)]
        return np.concatenate(parts)

    @torch.no_grad()
    def see_all(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """`see` of uint8 ``[N, H, H, 3]``, in batches, on the host."""
        parts = [
            self.see(torch.from_numpy(pictures[i : i + 64]).to(self.log_scale.device).permute(0, 3, 1, 2) / 127.5 - 1)
            for i in range(0, len(pictures), 64)
        ]
        return torch.cat(parts).cpu().numpy()


class Residual(nn.Module):
    """Depthwise mixing in space, then over channels, added to what came in (as in ConvNeXt)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width),
            nn.GroupNorm(8, width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to the same shape."""
        mixed: torch.Tensor = self.layers(x)
        return x + mixed


@dataclass(frozen=True)
class Lessons:
    """What a judge may learn from: every style of the preset's concepts, but no pair that the preset holds out."""

    preset: Preset

    def pairs(self) -> list[Pair]:
        """The pairs, rendered at the judge's own size."""
        styles = self.preset.styles
        if self.preset.judged_widely:
            styles = tuple(dict.fromkeys((*styles, *WIDELY)))
        everything = replace(self.preset, styles=styles, size=SIZE).everything(f"{self.preset.pictures}-judge")
        _, held_out = self.preset.known()
        hidden = {pair.key for pair in held_out}
        return [pair for pair in everything if pair.key not in hidden]


def torn(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each picture's colours shifted, a little blurred and noisy: what a judge should look past."""
    count = len(pictures)

    def either(*shape: int) -> torch.Tensor:
        return 2 * uniform((count, *shape), generator).to(pictures) - 1

    mixing = torch.eye(3).to(pictures) + 0.06 * either(3, 3)
    mixed = torch.einsum("bij,bjhw->bihw", mixing, pictures) + 0.06 * either(3, 1, 1)
    blurred = functional.avg_pool2d(functional.pad(mixed, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mixed = torch.lerp(mixed, blurred, either(1, 1, 1).clamp(min=0))
    noise = normal(mixed.shape, generator).to(mixed)
    return (mixed + 0.05 * either(1, 1, 1).clamp(min=0) * noise).clamp(-1, 1)


def train(preset: Preset, limits: Limits = UNLIMITED) -> Judge:
    """Trains the judge of a preset's pictures, or loads it if it is trained."""
    pairs = Lessons(preset).pairs()
    random = Random(1)
    names = [name for name, _ in (WHITE, *BACKGROUNDS)]
    captions = [varied_caption(pair, name, random) for pair in pairs for name in names]
    captions += [f"{first} to {second}" for first in names for second in names]
    shape = SHAPES.get(preset.pictures, Shape())
    words = tokenizer.train(captions, shape.vocabulary, shape.context, preset.folder / "judge_tokenizer")
    torch.manual_seed(1)
    judge = Judge(words, shape).to(device())
    composed = {name: getattr(preset.variety, name) for name in ("couples", "counted", "recoloured")}
    views = Views(pairs, replace(TORN, **composed), device(), preset.hidden())

    def loss(generator: torch.Generator) -> torch.Tensor:
        # The loop's generator counts steps; the judge must not see what the model's CLIP saw at the same step.
        random = Random(int(choose(2**31, 1, generator)) ^ 0x5EED)
        rows = random.sample(range(len(pairs)), min(preset.judge.batch, len(pairs)))
        pictures, said = views.draw(rows, random)
        text, image = judge.read(said), judge.see(torn(pictures, generator))
        logits = judge.log_scale.exp().clamp(max=50) * text @ image.T
        target = torch.arange(len(rows), device=logits.device)
        return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2

    fit("judge", preset, judge, loss, preset.judge, limits, made_from=[tokenizer.digest_of(words)])
    return judge


def save(judge: Judge, preset: Preset, folder: Path) -> None:
    """Half precision weights, the tokenizer, and which preset's pictures it judges.

    Raises:
        RuntimeError: see `require_replaceable`.
    """
    require_replaceable(folder, preset)
    with replacing(folder, (WEIGHTS, WORDS), ABOUT) as made:
        weights = {name: value.half().contiguous() for name, value in judge.state_dict().items()}
        save_file(weights, made / WEIGHTS)
        judge.words.save_pretrained(made / WORDS)
        about = {
            "preset": preset.name,
            "pictures": len(Lessons(preset).pairs()),
            "split": split_of(preset),
            "shape": asdict(judge.shape),
        }
        (made / ABOUT).write_text(json.dumps(about) + "\n")


def require_replaceable(folder: Path, preset: Preset) -> None:
    """Raises RuntimeError: a judge of other pictures lies there, or something that is none, or the folder cannot be
    written."""
    require_whole(folder, (WEIGHTS, WORDS), ABOUT)
    if not (folder / ABOUT).exists():
        return
    whose = about_of(folder)["preset"]
    if preset.pictures != (PRESETS[whose].pictures if whose in PRESETS else whose):
        raise RuntimeError(f"{folder}: the judge of preset {whose}; that of {preset.name} needs another place")


def beside(checkpoint: Path) -> Path:
    """Where a checkpoint's judge lies."""
    return checkpoint.resolve().with_name("judge")


def about_of(folder: Path) -> dict[str, Any]:
    """What a judge's folder says of it: the name of its preset, its split, its shape. Raises RuntimeError: nothing."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        if not isinstance(about, dict) or not isinstance(about.get("preset"), str):
            raise ValueError(f"{ABOUT} names no preset")
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{folder}: there is no judge: {error}") from error
    found: dict[str, Any] = about
    return found


def split_of(preset: Preset) -> str:
    """Digest of what a preset holds out."""
    return hashlib.sha256(json.dumps(preset.hidden().to_json()).encode()).hexdigest()


def load(folder: Path, where: torch.device, preset: Preset) -> Judge:
    """A judge that was saved. preset: whose pictures it is to judge.

    Raises:
        RuntimeError: there is none, or it is damaged, or something else was held out from it, or nothing says what was.
    """
    about = about_of(folder)
    if about.get("split") != split_of(preset):
        raise RuntimeError(f"{folder}: this judge was taught under another split than preset {preset.name} has now")
    try:
        judge = Judge(CLIPTokenizer.from_pretrained(folder / WORDS), Shape(**about.get("shape", {})))
        judge.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    except Exception as error:  # whatever libraries raise on files that are not what they were
        raise RuntimeError(f"{folder}: the judge is damaged: {error}") from error
    return judge.to(where).eval()


if __name__ == "__main__":
    chosen, granted = arguments("Trains the judge.")
    require_replaceable(FOLDER, chosen)
    save(train(chosen, granted), chosen, FOLDER)
