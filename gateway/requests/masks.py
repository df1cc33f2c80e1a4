"""What of a picture an Edit keeps, as its mask or its own alpha says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from gateway.requests.fitting import BoolArray, Size, Subject
from gateway.requests.reading import Reader
from unclip.api.type.v1 import image_pb2
from unclip.enum_names import Fit
from unclip.wire.images import array_of, strips

HALF = 128  # where alpha is less, or a mask's grey is not, a picture is repainted
OPAQUE = 255


def read_subject(image: image_pb2.Image, mask: image_pb2.Image | None, fit: Fit, size: Size, reader: Reader) -> Subject:
    """The picture in ``image`` with what ``mask``, or where that is None its own alpha, keeps of it.

    size: of the picture that it is fitted into. What breaks a rule goes to ``reader``; the subject is then of no use.
    """
    # One at a time: either may have 16 megapixels. What is left of a mask is a byte for each.
    given = None if mask is None else Mask.read(mask, reader)
    picture = reader.opened("image", image)
    if picture is None or (given is None and mask is not None):
        return Subject(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.bool_))
    kept = kept_by_alpha(picture, reader) if given is None else given.keeps(picture.size, reader)
    subject = Subject(array_of(picture), kept)
    del picture, kept
    if fit == "crop":
        subject = subject.cropped(size)
    if subject.kept.all():
        field, sign = ("image", f"alpha below {HALF}") if given is None else ("mask", f"grey of {HALF} or more")
        height, width = subject.kept.shape
        reader.refuse(
            field, f"must have {sign} in the {width} x {height} px that the fit leaves; got nothing to repaint"
        )
    return subject.resized(*size) if fit == "crop" else subject.fitted(size)


def kept_by_alpha(picture: Image.Image, reader: Reader) -> BoolArray:
    """What a picture's own alpha keeps, bool ``[H, W]``."""
    if picture.mode != "RGBA":
        reader.refuse("mask", "must be set where the image has no alpha channel; got neither")
        return np.zeros((picture.height, picture.width), np.bool_)
    return np.asarray(picture.getchannel("A")) >= HALF


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask file. dark: bool ``[H, W]``. alpha: the least that it has anywhere."""

    dark: BoolArray
    alpha: int

    @classmethod
    def read(cls, message: image_pb2.Image, reader: Reader) -> Mask | None:
        """The mask in ``message``; None when it was refused."""
        mask = reader.opened("mask", message)
        if mask is None:
            return None
        alpha = OPAQUE
        dark = np.empty((mask.height, mask.width), np.bool_)
        for top, strip in strips(mask):
            if mask.mode == "RGBA":
                alpha = min(alpha, int(np.asarray(strip.getchannel("A")).min()))
            dark[top : top + strip.height] = np.asarray(strip.convert("L")) < HALF
        return cls(dark, alpha)

    def keeps(self, size: tuple[int, int], reader: Reader) -> BoolArray:
        """What it keeps of a picture of ``size``, width and height; bool ``[H, W]``."""
        height, width = self.dark.shape
        if (width, height) != size:
            reader.refuse("mask", f"must be as large as the image, {size[0]} x {size[1]}; got {width} x {height}")
            return np.zeros(size[::-1], np.bool_)
        if self.alpha != OPAQUE:
            reader.refuse(
                "mask", f"must be opaque, light where to repaint and dark where to keep; got alpha of {self.alpha}"
            )
        return self.dark
