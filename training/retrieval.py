"""How well a CLIP finds captions and pictures that it was never shown, by each other.

Captions of held-out pairs against held-out pictures on white, and pictures against the captions of every pair that
exists; of the nearest caption, whether it names the concept and whether it names the style.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from transformers import CLIPTokenizer

from training import clip as clip_stage
from training import joint, lessons
from training.captions import plain_caption
from training.clip import Clip, pixels, tokens
from training.judges import Floats, cosines, hits
from training.loop import parsed
from training.pictures import WHITE, Pair, composite
from training.presets import Preset
from training.questions import askable
from training.scaling import reduce
from training.teachers import PictureTeacher

Reader = Callable[[list[str]], torch.Tensor]
Eye = Callable[[list[Pair]], torch.Tensor]
Item = TypeVar("Item")
BATCH = 128


@torch.no_grad()
def figures(read: Reader, see: Eye, taught: list[Pair], held_out: list[Pair]) -> dict[str, float]:
    """R@1 and R@5 both ways, concept and style named. read, see: embeddings ``[B, D]`` of captions, of pictures."""
    every = sorted({(pair.label, pair.style) for pair in (*taught, *held_out)})
    own = [(pair.label, pair.style) for pair in held_out]
    text = in_batches(read, [plain_caption(*one) for one in every])
    image = in_batches(see, held_out)
    place = {one: i for i, one in enumerate(every)}
    rows = [place[one] for one in own]
    found = hits(cosines(text[rows], image), np.eye(len(own), dtype=np.bool_))
    nearness = cosines(image, text)
    back = hits(nearness, np.array(rows)[:, None] == np.arange(len(every))[None])
    named = [every[i] for i in nearness.argmax(1)]
    return {
        "pictures": len(own),
        "captions": len(every),
        "caption to picture R@1": found["top1"],
        "caption to picture R@5": found["top5"],
        "picture to caption R@1": back["top1"],
        "picture to caption R@5": back["top5"],
        "concept": float(np.mean([a[0] == b[0] for a, b in zip(named, own, strict=True)])),
        "style": float(np.mean([a[1] == b[1] for a, b in zip(named, own, strict=True)])),
    }


def in_batches(encode: Callable[[list[Item]], torch.Tensor], items: Sequence[Item]) -> Floats:
    """Everything encoded, on the host."""
    parts = [encode(list(items[start : start + BATCH])).float().cpu() for start in range(0, len(items), BATCH)]
    return torch.cat(parts).numpy()


def on_white(pairs: list[Pair]) -> torch.Tensor:
    """``[B, 3, S, S]`` in [-1, 1]."""
    return pixels([composite(pair.rgba, WHITE[1]) for pair in pairs])


def of_clip(preset: Preset, clip: Clip, words: CLIPTokenizer) -> dict[str, float]:
    """The figures of a CLIP."""

    @torch.no_grad()
    def read(captions: list[str]) -> torch.Tensor:
        ids, mask = tokens(words, captions)
        found: torch.Tensor = clip.text(input_ids=ids, attention_mask=mask).text_embeds
        return found

    def see(pairs: list[Pair]) -> torch.Tensor:
        found: torch.Tensor = clip.image(pixel_values=reduce(on_white(pairs), preset.clip_size)).image_embeds
        return found

    taught, held_out = preset.known()
    return figures(read, see, taught, askable(taught, held_out))


def of_joint(preset: Preset) -> dict[str, float]:
    """The figures of the teachers' joint space, the ceiling of what CLIP learns from it."""
    taught, held_out = preset.known()
    words = clip_stage.learn_tokenizer(preset, taught)
    space = joint.train(preset, words, lessons.prepare(preset, words)).eval()
    eye = PictureTeacher()
    return figures(
        lambda captions: space.read(*tokens(words, captions)),
        lambda pairs: space.picture(eye.see(on_white(pairs))),
        taught,
        askable(taught, held_out),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--joint", action="store_true", help="of the teachers' joint space instead of CLIP")
    preset, options = parsed(parser)
    print(json.dumps(of_joint(preset) if options.joint else of_clip(preset, *clip_stage.train(preset)), indent=1))


if __name__ == "__main__":
    main()
