"""Known pixels on the wire: what an edit keeps of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unclip.api.decoder.v1 import known_pixels_pb2
from unclip.wire import tensors
from unclip.wire.limits import RANGES
from unclip.wire.violations import Violations


@dataclass(frozen=True, eq=False)
class KnownPixels:
    """What is known of a picture.

    pixels: float32 ``[3, H, W]`` in [-1, 1]. mask: bool ``[H, W]``, true where known. resampling: takes of each step
    but the last, 1 to 10.
    """

    pixels: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    resampling: int = 1

    def evaluations(self, steps: int) -> int:
        """Network evaluations of a trajectory of so many steps."""
        return (steps - 1) * self.resampling + 1

    def keep(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``pixels``, float32 ``[3, H, W]``, with those in their place that are known."""
        return np.where(self.mask, self.pixels, pixels)

    @classmethod
    def from_proto(
        cls, message: known_pixels_pb2.KnownPixels, field: str, width: int, height: int, violations: Violations
    ) -> KnownPixels | None:
        """What is known of a picture of this size, in pixels; None where that is nothing, or where a rule is broken.

        Broken rules are added to ``violations``.
        """
        resampling = message.resampling if message.HasField("resampling") else 1
        violations.number(f"{field}.resampling", resampling, *RANGES["resampling"])
        pixels = violations.take(
            lambda: tensors.from_proto(message.pixels, f"{field}.pixels", dtype=np.float32, shape=[3, height, width])
        )
        if pixels is not None and (largest := float(np.abs(pixels).max())) > 1:
            violations.add(f"{field}.pixels.data", f"must be -1 to 1; got a value of size {largest:g}")
        mask = violations.take(
            lambda: tensors.from_proto(message.mask, f"{field}.mask", dtype=np.bool_, shape=[height, width])
        )
        if pixels is None or mask is None or not mask.any():
            return None
        return cls(pixels, mask, resampling)

    def to_proto(self) -> known_pixels_pb2.KnownPixels:
        """The message, every field set."""
        return known_pixels_pb2.KnownPixels(
            pixels=tensors.to_proto(self.pixels), mask=tensors.to_proto(self.mask), resampling=self.resampling
        )
