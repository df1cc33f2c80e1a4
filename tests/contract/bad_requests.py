"""Sound requests spoiled in one place each."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.contract.requests import BAD_PICTURES, file_of, image, noise, picture, tensor
from tests.contract.services import Method
from tests.contract.toys import Toy
from tests.tiny import CONTEXT, WIDTH
from unclip.api.type.v1 import embedding_pb2, image_pb2, tensor_pb2
from unclip.testing.model import SCALE

MIB_10 = 10 * 1024 * 1024
BAD_NUMBERS: list[tuple[float, str]] = [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (-0.5, "-0.5")]
SAMPLED: list[Method] = ["sample", "decode", "upsample"]


def sound_tensors(toy: Toy) -> list[tuple[Method, str, tensor_pb2.Tensor]]:
    """Tensors that a method takes, with the method and where they belong."""
    found: list[tuple[Method, str, tensor_pb2.Tensor]] = [
        ("sample", "text.embedding.values", tensor(WIDTH)),
        ("sample", "unconditional_text.token_states", tensor(CONTEXT, WIDTH)),
        ("decode", "embedding.values", tensor(WIDTH)),
        ("decode", "start_noise", tensor(*toy.base)),
        ("invert", "embedding.values", tensor(WIDTH)),
        ("invert", "unconditional_text.embedding.values", tensor(WIDTH)),
        ("upsample", "sample", tensor(*toy.base)),
    ]
    if toy.states is None:
        return [*found, ("decode", "text.token_states", tensor(CONTEXT, WIDTH))]
    return [*found, ("decode", "text.decoder_states", tensor(CONTEXT, toy.states))]


def every(toy: Toy) -> list[Bad]:
    """All of the below."""
    return [*captions(), *pictures(), *settings(), *shapes(toy), *tensors(toy)]


@dataclass(frozen=True)
class Bad:
    """A sound request to ``method`` spoiled; the refusal names ``field`` and says each of ``words``."""

    method: Method
    name: str
    spoil: Callable[[Any], object]
    field: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method}-{self.name}"


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Sets the field, message or list at ``path``; None clears it."""

    def spoil(request: Any) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            request = getattr(request, parent)
        if value is None or isinstance(value, list):
            request.ClearField(name)
        if isinstance(value, list):
            getattr(request, name).extend(value)
        elif hasattr(value, "DESCRIPTOR"):
            getattr(request, name).CopyFrom(value)
        elif value is not None:
            setattr(request, name, value)

    return spoil


def encoding(tokens: int, toy: Toy) -> embedding_pb2.TextEncoding:
    """A text encoding of so many tokens, of a CLIP that it does not name."""
    return embedding_pb2.TextEncoding(
        decoder_states=None if toy.states is None else tensor(tokens, toy.states),
        embedding=embedding_pb2.Embedding(values=tensor(WIDTH)),
        token_states=tensor(tokens, WIDTH),
        token_mask=tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_BOOL, shape=[tokens], data=b"\1" * tokens),
    )


def captions() -> list[Bad]:
    """Captions that are too many, too few, too long or unprintable."""

    def bad(name: str, captions: list[str], field: str, *words: str) -> Bad:
        return Bad("encode_text", name, put("captions", captions), field, words)

    return [
        bad("no captions", [], "captions", "1 to 64", "got 0"),
        bad("too many captions", ["x"] * 65, "captions", "1 to 64", "got 65"),
        bad("caption too long", ["ok", "x" * 4097], "captions[1]", "4096 bytes", "got 4097"),
        bad("caption too long in bytes", ["ä" * 2049], "captions[0]", "4096 bytes", "got 4098"),
        bad("control character", ["a\x07b"], "captions[0]", "control characters", "U+0007", "position 1"),
        bad("escape", ["ok", "ok", "a\n\x1b[31mb"], "captions[2]", "control characters", "U+001B", "position 2"),
    ]


def pictures() -> list[Bad]:
    """Files that are no pictures, or pictures of a kind or size that is not taken."""

    def bad(name: str, images: list[image_pb2.Image], field: str, *words: str) -> Bad:
        return Bad("encode_image", name, put("images", images), field, words)

    padded = image_pb2.Image(data=file_of(picture()).ljust(4_000_000, b"\0"))
    found = [
        bad("no images", [], "images", "1 to 16", "got 0"),
        bad("too many images", [image(picture())] * 17, "images", "1 to 16", "got 17"),
        bad("too large together", [padded] * 6, "images", f"{2 * MIB_10} bytes together", "24000000"),
        Bad("invert", "no image", put("image", None), "image.data", ("PNG, JPEG or WebP",)),
    ]
    for name, (data, words) in BAD_PICTURES.items():
        spoiled = image_pb2.Image(data=data)
        found.append(Bad("invert", name, put("image", spoiled), "image.data", words))
        if len(data) <= MIB_10:  # larger ones break the rule for all together first
            found.append(bad(name, [image(picture()), spoiled], "images[1].data", *words))
    return found


def settings() -> list[Bad]:
    """Numbers out of range."""

    def bad(method: Method, field: str, value: Any, *words: str) -> Bad:
        return Bad(method, f"{field} {value}", put(field, value), field, words)

    found = [
        bad("sample", "candidates", 0, "1 to 16", "got 0"),
        bad("sample", "candidates", 17, "1 to 16", "got 17"),
        bad("sample", "candidates", -1, "1 to 16", "got -1"),
        bad("decode", "preview_interval", 1001, "0 to 1000", "got 1001"),
        bad("decode", "preview_interval", -1, "0 to 1000", "got -1"),
        bad("invert", "steps", 0, "1 to 1000", "got 0"),
        bad("invert", "steps", 1001, "1 to 1000", "got 1001"),
        bad("upsample", "sampling.guidance_scale", 2, "must be 1", "got 2"),
    ]
    for method in SAMPLED:
        found += [
            bad(method, "sampling.steps", 0, "1 to 1000", "got 0"),
            bad(method, "sampling.steps", 1001, "1 to 1000", "got 1001"),
            bad(method, "sampling.steps", -7, "1 to 1000", "got -7"),
            bad(method, "sampling.eta", 1.5, "0 to 1", "got 1.5"),
            bad(method, "sampling.sampler", 99, "SAMPLER_DDIM", "got 99"),
            *(bad(method, "sampling.eta", value, "0 to 1", f"got {shown}") for value, shown in BAD_NUMBERS),
        ]
    for method in ("sample", "decode"):
        found += [
            bad(method, "sampling.guidance_scale", 30.5, "0 to 30", "got 30.5"),
            *(bad(method, "sampling.guidance_scale", value, "0 to 30", f"got {told}") for value, told in BAD_NUMBERS),
        ]
    return found


def shapes(toy: Toy) -> list[Bad]:
    """Tensors that are missing, or sound in themselves and wrong in their place."""

    def bad(method: Method, path: str, value: Any, field: str, *words: str) -> Bad:
        return Bad(
            method, f"{path} {'missing' if value is None else field} {words[-1]}", put(path, value), field, words
        )

    fewer, type_of = CONTEXT - 1, "embedding.values.data_type"
    short = encoding(fewer, toy)
    channels, height, width = toy.base
    smaller = [channels, height - 1, width]
    found = [
        bad("sample", "text", None, f"text.{type_of}", "FLOAT32", "got 0"),
        bad("sample", "unconditional_text", None, "unconditional_text", "guidance scale is 1", "it is 3"),
        bad(
            "sample",
            "text",
            short,
            "text.token_states.shape",
            f"[{CONTEXT}, {WIDTH}]",
            f"[{fewer}, {WIDTH}]",
        ),
        bad(
            "sample",
            "text.token_mask",
            short.token_mask,
            "text.token_mask.shape",
            f"[{CONTEXT}]",
            f"[{fewer}]",
        ),
        bad("sample", "text.token_mask.data", b"\2" * CONTEXT, "text.token_mask.data", "0 or 1", "got 2"),
        bad("sample", "text.token_mask", tensor(CONTEXT), "text.token_mask.data_type", "must be bool", "float32"),
        bad("decode", "embedding", None, type_of, "FLOAT32", "got 0"),
        bad(
            "decode",
            "text",
            short,
            "text.token_states",
            f"unconditional_text, {CONTEXT}",
            f"got {fewer}",
        ),
        bad("decode", "start_noise", tensor(*smaller), "start_noise.shape", f"{list(toy.base)}", f"{smaller}"),
        bad(
            "decode",
            "text.token_states.shape",
            [2**40, WIDTH],
            "text.token_states.data",
            f"{2**42 * WIDTH} bytes",
            "got",
        ),
        bad("invert", "unconditional_text", encoding(513, toy), "unconditional_text.token_mask", "1 to 512", "got 513"),
        bad("upsample", "sample", None, "sample.data_type", "FLOAT32", "got 0"),
        bad("upsample", "sample.shape", [channels, 2**31, 2**31], "sample.data", f"{channels * 2**64} bytes", "got"),
        bad("upsample", "sample", tensor(1, 8, 8), "sample.shape", f"[{channels}, any, any]", "[1, 8, 8]"),
    ]
    if not toy.model.ignores_text:
        missing = bad("decode", "unconditional_text", None, f"unconditional_text.{type_of}", "FLOAT32", "got 0")
        found.append(missing)
    if toy.model.sizes:
        most = toy.model.sizes.largest // SCALE
        for shape in ([channels, 8, 9], [channels, most + 8, 8], [channels, most, most]):
            told = f"must be that of a picture of {toy.model.sizes}"
            found.append(bad("upsample", "sample", tensor(*shape), "sample.shape", told, f"{shape}"))
    else:
        final = toy.model.final_size
        found.append(bad("upsample", "sample", tensor(3, 8, 9), "sample.shape", "square", "[3, 8, 9]"))
        found.append(bad("upsample", "sample", noise(final + 1), "sample.shape", f"at most {final}", f"{final + 1}"))
    return found


def tensors(toy: Toy) -> list[Bad]:
    """Tensors that contradict themselves."""
    found = []
    for method, place, good in sound_tensors(toy):
        data, size, rank = good.data, len(good.data), len(good.shape)
        most = 1 if method == "upsample" and not toy.latents else 10_000
        spoiled: list[tuple[str, str, Any, tuple[str, ...]]] = [
            ("a byte short", "data", data[:-1], (f"{size} bytes", f"got {size - 1}")),
            ("a byte long", "data", data + b"\0", (f"{size} bytes", f"got {size + 1}")),
            ("not a number", "data", struct.pack("<f", math.nan) + data[4:], ("finite", "NaN")),
            ("infinite", "data", struct.pack("<f", -math.inf) + data[4:], ("finite", "infinity")),
            ("beyond all use", "data", struct.pack("<f", -3e38) + data[4:], (f"-{most:g} to {most:g}", "size 3e+38")),
            ("of no type", "data_type", 0, ("FLOAT32", "got 0")),
            ("of an unknown type", "data_type", 99, ("FLOAT32", "got 99")),
            ("of half precision", "data_type", tensor_pb2.DATA_TYPE_FLOAT16, ("must be float32", "got float16")),
            ("of no shape", "shape", [], ("got []",)),
            ("of negative size", "shape", [-1] * rank, ("at least 1", "-1")),
            ("of no size", "shape", [0] * rank, ("at least 1", "0")),
            ("of many dimensions", "shape", [1] * 9, ("at most 8", "1, 1")),
        ]
        for name, part, value, words in spoiled:
            bad = tensor_pb2.Tensor()
            bad.CopyFrom(good)
            put(part, value)(bad)
            found.append(Bad(method, f"{place} {name}", put(place, bad), f"{place}.{part}", words))
    return found
