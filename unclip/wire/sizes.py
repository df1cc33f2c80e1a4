"""Widths and heights of pictures: what a model can make, and what a request asks for."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.api.type.v1 import model_info_pb2
from unclip.wire.by_name import PLAIN
from unclip.wire.violations import Violations


@dataclass(frozen=True)
class Sizes:
    """What a stage can make, in pixels: widths and heights that are multiples of ``multiple``, from ``smallest`` to
    ``largest``, at most ``max_pixels`` together."""

    multiple: int
    smallest: int
    largest: int
    max_pixels: int

    def __str__(self) -> str:
        return (
            f"multiples of {self.multiple} from {self.smallest} to {self.largest} px, "
            f"{self.max_pixels} pixels together at most"
        )

    def has(self, width: int, height: int) -> bool:
        """Whether it is one of them."""
        each = all(side % self.multiple == 0 and self.smallest <= side <= self.largest for side in (width, height))
        return each and width * height <= self.max_pixels

    @classmethod
    def from_proto(cls, message: model_info_pb2.Sizes) -> Sizes:
        """Those in a message."""
        return PLAIN.read(cls, message)

    def to_proto(self) -> model_info_pb2.Sizes:
        """The message."""
        return PLAIN.write(self, model_info_pb2.Sizes())


def size_of(
    width: int | None, height: int | None, usual: int, sizes: Sizes | None, violations: Violations, prefix: str = ""
) -> tuple[int, int]:
    """Width and height, in pixels, of a picture for which these are asked, None for nothing in particular.

    usual: side of the squares that the model makes of itself. sizes: what else it can, None for nothing. A broken rule
    is added to ``violations``, by the field's name after ``prefix``.
    """
    if width is None and height is None:
        return usual, usual
    if width is None or height is None:
        there, lacking = ("height", "width") if width is None else ("width", "height")
        violations.add(f"{prefix}{lacking}", f"must be set where {there} is")
        return usual, usual
    if (width, height) != (usual, usual) and (sizes is None or not sizes.has(width, height)):
        able = f"{usual}, all that this model makes" if sizes is None else str(sizes)
        violations.add(f"{prefix}width", f"and height must be {able}; got {width} x {height}")
        return usual, usual
    return width, height
