"""Sound requests to every method, and pictures sound and unsound."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.contract.services import Method, Services
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2, tensor_pb2

FEW = sampling_pb2.SamplingOptions(sampler=sampling_pb2.SAMPLER_DDIM, steps=2, guidance_scale=3, eta=0)
UNGUIDED = sampling_pb2.SamplingOptions(sampler=sampling_pb2.SAMPLER_DDIM, steps=2, guidance_scale=1, eta=0)


def sound(services: Services, method: Method) -> Any:
    """A request that ``method`` serves, seed 1, of two steps where it samples."""
    match method:
        case "encode_text":
            return encoder_pb2.EncodeTextRequest(captions=["a cat", "a dog"])
        case "encode_image":
            return encoder_pb2.EncodeImageRequest(images=[image(picture("red")), image(picture("blue"))])
        case "sample":
            return prior_pb2.SampleRequest(
                text=services.text("a cat"), unconditional_text=services.text(""), seed=1, sampling=FEW
            )
        case "decode":
            away = services.text("").embedding if services.toy.model.ignores_text else None
            return decoder_pb2.DecodeRequest(
                embedding=services.text("red").embedding,
                text=services.text("a cat"),
                unconditional_text=services.text(""),
                unconditional_embedding=away,
                seed=1,
                sampling=FEW,
            )
        case "invert":
            return decoder_pb2.InvertRequest(
                image=image(picture("red")),
                embedding=services.text("red").embedding,
                unconditional_text=services.text(""),
                steps=2,
            )
        case "upsample":
            return upsampler_pb2.UpsampleRequest(sample=tensor(*services.toy.base), seed=1, sampling=UNGUIDED)


def tensor(*shape: int, seed: int = 0) -> tensor_pb2.Tensor:
    """float32 values in [-1, 1]."""
    values = np.random.default_rng(seed).uniform(-1, 1, shape).astype("<f4")
    return tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=shape, data=values.tobytes())


def noise(side: int, seed: int = 0) -> tensor_pb2.Tensor:
    """float32 ``[3, side, side]``."""
    return tensor(3, side, side, seed=seed)


def picture(colour: str = "red", width: int = 40, height: int = 24) -> Image.Image:
    """A picture with a left half in ``colour``, a right half in white."""
    whole = Image.new("RGB", (width, height), "white")
    whole.paste(colour, (0, 0, width // 2, height))
    return whole


def file_of(whole: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    whole.save(file, file_format, **options)
    return file.getvalue()


def image(whole: Image.Image, file_format: str = "PNG", **options: Any) -> image_pb2.Image:
    """A picture as a message."""
    return image_pb2.Image(data=file_of(whole, file_format, **options))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD_PICTURES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no bytes": (b"", ("PNG, JPEG or WebP", "none")),
    "text": (b"not a picture", ("PNG, JPEG or WebP", "13 bytes")),
    "gif": (file_of(picture(), "GIF"), ("PNG, JPEG or WebP",)),
    "truncated": (file_of(picture(width=300, height=300), "JPEG")[:-400], ("whole", "cut")),
    "header alone": (png_header(64, 64), ("whole", "cut")),
    "too wide": (png_header(5000, 8), ("4096", "5000 x 8")),
    "too many pixels": (png_header(4096, 4096), ("16000000", str(4096 * 4096))),
    "bomb": (png_header(60000, 60000), ("4096", "60000")),
    "animated": (
        file_of(picture(), "WEBP", save_all=True, append_images=[picture("blue"), picture("green")]),
        ("one frame", "3"),
    ),
    "cmyk": (file_of(picture().convert("CMYK"), "JPEG"), ("RGB", "CMYK")),
    "too large": (b"\x89PNG\r\n\x1a\n".ljust(10 * 1024 * 1024 + 1, b"\0"), ("10485760", "10485761")),
}
