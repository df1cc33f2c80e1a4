"""Widths and heights of pictures: what a model can make, and what a request asks for."""

from __future__ import annotations

from unclip.api.type.v1 import model_info_pb2
from unclip.options import Sizes
from unclip.wire.by_name import PLAIN
from unclip.wire.violations import Violations


def sizes_from_proto(stage: model_info_pb2.StageInfo) -> Sizes | None:
    """What a stage says that it can make besides its usual size, None for nothing."""
    return PLAIN.read(Sizes, stage.sizes) if stage.HasField("sizes") else None


def sizes_to_proto(sizes: Sizes | None) -> model_info_pb2.Sizes | None:
    """The message for them."""
    return None if sizes is None else PLAIN.write(sizes, model_info_pb2.Sizes())


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
