"""Requests to the encoder as plain values: read once, with every broken rule reported together.

Stub and real service read requests through this module, so both refuse the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PIL import Image

from unclip.api.encoder.v1 import encoder_pb2
from unclip.wire.images import MAX_BYTES_TOGETHER, MAX_TOGETHER, decode_cost, decode_image
from unclip.wire.limits import MAX_CAPTIONS, MAX_IMAGES
from unclip.wire.violations import Violations


def read_encode_text(request: encoder_pb2.EncodeTextRequest) -> list[str]:
    """The captions, each as models get it. Raises InvalidRequest."""
    violations = Violations()
    violations.count("captions", len(request.captions), 1, MAX_CAPTIONS)
    captions = [
        violations.caption(f"captions[{index}]", caption, allow_empty=True)
        for index, caption in enumerate(request.captions[:MAX_CAPTIONS])
    ]
    violations.raise_if_any()
    return captions


def read_encode_image(
    request: encoder_pb2.EncodeImageRequest, side: int
) -> list[tuple[int, Callable[[], Image.Image]]]:
    """What reading each picture costs, in pixels, and what decodes it: one at a time, they may be large.

    They are decoded for a square of ``side``, RGB and upright.

    Raises:
        InvalidRequest: there are too many pictures, bytes or pixels. Each picture may raise it once more.
    """
    violations = Violations()
    violations.count("images", len(request.images), 0 if request.null_image else 1, MAX_IMAGES)
    size = sum(len(image.data) for image in request.images)
    costs: list[int] = []
    if size > MAX_BYTES_TOGETHER:
        violations.add("images", f"must be at most {MAX_BYTES_TOGETHER} bytes together; got {size}")
    elif sum(costs := [decode_cost([image]) for image in request.images[:MAX_IMAGES]]) > MAX_TOGETHER:
        violations.add("images", f"must be at most {MAX_TOGETHER} pixels together; got {sum(costs)}")
    violations.raise_if_any()
    return [
        (cost, partial(decode_image, image, f"images[{index}]", side))
        for index, (cost, image) in enumerate(zip(costs, request.images, strict=True))
    ]
