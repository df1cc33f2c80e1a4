"""What CLIP sees of a picture, before that is made numbers. Without torch, for a process that reads pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

MAX_RESIZED = 16  # times the pixels that are kept: beyond that only these are resized


@dataclass(frozen=True)
class CenterCrop:
    """How a checkpoint's processor makes squares of pictures: the shortest edge is resized to ``short`` px with
    Pillow's filter ``resample``, then ``width`` x ``height`` px are cropped at the centre."""

    short: int
    width: int
    height: int
    resample: int

    @classmethod
    def of(cls, processor: Any) -> CenterCrop | None:
        """That of a ``CLIPImageProcessor``; None where it works otherwise."""
        short, crop = (processor.size or {}).get("shortest_edge"), processor.crop_size or {}
        if not (processor.do_resize and processor.do_center_crop and short):
            return None
        return cls(short, crop["width"], crop["height"], int(processor.resample))

    def at(self, image: Image.Image) -> Image.Image | None:
        """What is seen of an RGB picture, each pixel as the processor computes it; None where it would pad.

        Of a thin picture only the part that is seen is resized, not the rest, of which there would be millions of
        pixels. Else all of it is: Pillow may filter the whole first across and the part first down, and it rounds and
        clips in between.
        """
        size = [int(self.short * side / min(image.size)) for side in image.size]  # as the processor computes it
        target = (self.width, self.height)
        if any(part > whole for part, whole in zip(target, size, strict=True)):
            return None
        first = [(whole - part) // 2 for whole, part in zip(size, target, strict=True)]
        if size[0] * size[1] <= MAX_RESIZED * self.width * self.height:
            whole = image.resize((size[0], size[1]), self.resample)
            return whole.crop((first[0], first[1], first[0] + self.width, first[1] + self.height))
        box: list[float] = []
        for side, whole_side, begin, part in zip(image.size, size, first, target, strict=True):
            box += [begin * side / whole_side, (begin + part) * side / whole_side]
        return image.resize(target, self.resample, box=(box[0], box[2], box[1], box[3]))


def center_cropped(decode: Callable[[], Image.Image], crop: CenterCrop | None) -> tuple[Image.Image, bool]:
    """The RGB picture that ``decode`` gives, cropped, and True; or whole, and False, where ``crop`` is None or pads.
    The whole picture, large as it may be, is gone then. Raises what ``decode`` raises."""
    image = decode()
    found = None if crop is None else crop.at(image)
    return (image, False) if found is None else (found, True)
