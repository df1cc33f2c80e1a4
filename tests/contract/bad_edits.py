"""Known pixels spoiled in one place each, for both stages that edit."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.contract.bad_requests import Bad, put
from tests.contract.requests import noise
from tests.contract.services import Array, Method
from tests.contract.toys import Toy
from unclip.api.decoder.v1 import known_pixels_pb2
from unclip.api.type.v1 import tensor_pb2

EDITED: tuple[Method, ...] = ("decode", "upsample")


def side_of(toy: Toy, method: Method) -> int:
    """Of a stage's pictures."""
    return toy.model.base_size if method == "decode" else toy.model.final_size


def mask_of(values: Array) -> tensor_pb2.Tensor:
    """A mask, bool ``[H, W]``, as a message."""
    return tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_BOOL, shape=values.shape, data=values.tobytes())


def random_mask(side: int, seed: int = 0) -> Array:
    """bool ``[side, side]``, half of it true."""
    return np.random.default_rng(seed).uniform(size=(side, side)) < 0.5


def known_pixels(side: int, seed: int = 0) -> known_pixels_pb2.KnownPixels:
    """A picture of uniform noise, half of it known."""
    return known_pixels_pb2.KnownPixels(pixels=noise(side, seed), mask=mask_of(random_mask(side, seed)))


def edits(toy: Toy) -> list[Bad]:
    """Known pixels that are missing, of another size, out of range or nothing at all."""
    found = []
    for method in EDITED:
        side = side_of(toy, method)

        def bad(
            name: str, path: str, value: Any, field: str, *words: str, method: Method = method, side: int = side
        ) -> Bad:
            return Bad(method, f"known {name}", _spoil(side, path, value), f"known.{field}", words)

        data = noise(side).data
        whole, typed = f"[3, {side}, {side}]", mask_of(random_mask(side))
        typed.data_type = tensor_pb2.DATA_TYPE_UINT8
        found += [
            bad("picture missing", "pixels", None, "pixels.data_type", "FLOAT32", "got 0"),
            bad("picture smaller", "pixels", noise(side - 1), "pixels.shape", whole, f"{side - 1}"),
            bad("picture short", "pixels.data", data[:-1], "pixels.data", f"{len(data)} bytes", f"got {len(data) - 1}"),
            bad("NaN", "pixels.data", _first(math.nan, data), "pixels.data", "finite", "NaN"),
            bad("infinite", "pixels.data", _first(math.inf, data), "pixels.data", "finite", "infinity"),
            bad("out of range", "pixels.data", _first(-1.5, data), "pixels.data", "-1 to 1", "size 1.5"),
            bad("mask missing", "mask", None, "mask.data_type", "BOOL", "got 0"),
            bad(
                "mask larger", "mask", mask_of(random_mask(side + 1)), "mask.shape", f"[{side}, {side}]", f"{side + 1}"
            ),
            bad("mask of three dimensions", "mask.shape", [1, side, side], "mask.shape", f"[1, {side}, {side}]"),
            bad("mask of bytes", "mask", typed, "mask.data_type", "must be bool", "got uint8"),
            bad("mask of grey", "mask.data", b"\2" * side**2, "mask.data", "0 or 1", "got 2"),
            bad("never", "resampling", 0, "resampling", "1 to 10", "got 0"),
            bad("too often", "resampling", 11, "resampling", "1 to 10", "got 11"),
            bad("less than never", "resampling", -1, "resampling", "1 to 10", "got -1"),
        ]
    return found


def _spoil(side: int, path: str, value: Any) -> Callable[[Any], None]:
    def spoil(request: Any) -> None:
        request.known.CopyFrom(known_pixels(side))
        put(f"known.{path}", value)(request)

    return spoil


def _first(value: float, data: bytes) -> bytes:
    return struct.pack("<f", value) + data[4:]
