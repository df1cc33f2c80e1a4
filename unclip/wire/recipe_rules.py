"""What the recipe inside a file, which may be a stranger's, may ask for: one picture, within the limits of requests."""

from __future__ import annotations

import re
from collections.abc import Mapping

from google.protobuf.descriptor import FieldDescriptor

from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.errors import InvalidRequest
from unclip.wire.limits import RANGES
from unclip.wire.recipe_text import RecipeText
from unclip.wire.sampling import sampling_from_proto
from unclip.wire.violations import Violations

# What only measures a picture, or chose it among others.
NOT_IN_RECIPES = ("candidates", "report_psnr")
ONE_PICTURE: Mapping[str, tuple[float, float]] = {**RANGES, "image_count": (1, 1)}
MAX_SOURCES = 2  # an edit's picture and mask, or the ends of an interpolation
MAX_STAGES = 8
DIGEST = re.compile("[0-9a-f]{64}")
VERSION = re.compile(".{0,256}", re.DOTALL)


def require_one_picture(recipe: RecipeText, field: str) -> None:
    """Raises InvalidRequest, naming ``field``, unless ``recipe`` is what a gateway writes of one picture."""
    found = Violations()
    _check_request(recipe, found)
    found.count("source_digests", len(recipe.source_digests), 0, MAX_SOURCES)
    for index, digest in enumerate(recipe.source_digests[:MAX_SOURCES]):
        if not DIGEST.fullmatch(digest):
            found.add(f"source_digests[{index}]", f"must be 64 hexadecimal digits; got {digest!r:.60}")
    found.count("stage_versions", len(recipe.stage_versions), 0, MAX_STAGES)
    versions = {"model_version": recipe.model_version, **recipe.stage_versions}
    for name, version in list(versions.items())[: MAX_STAGES + 1]:
        if not VERSION.fullmatch(name + version):
            found.add("model_version", f"and those of stages must have at most 256 characters; got {len(version)}")
    try:
        found.raise_if_any()
    except InvalidRequest as error:
        told = error.brief(300)
        raise InvalidRequest.of(field, f"holds a recipe that is not of one picture: {told}") from None


def _check_request(recipe: RecipeText, found: Violations) -> None:
    request = recipe.request
    if request.preview_interval:
        found.add("preview_interval", f"must be unset; got {request.preview_interval}")
    for place, value in getattr(request, request.WhichOneof("request") or "generate").ListFields():
        if place.name in NOT_IN_RECIPES or place.message_type == image_pb2.Image.DESCRIPTOR:
            found.add(place.name, "must be unset")
        elif place.name in ONE_PICTURE:
            found.number(place.name, value, *ONE_PICTURE[place.name])
        elif place.message_type == sampling_pb2.SamplingOptions.DESCRIPTOR:
            sampling_from_proto(value, None, place.name, found)
        elif place.enum_type and value not in place.enum_type.values_by_number:
            found.add(place.name, f"must be one that this client knows; got number {value}")
        elif place.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            found.caption(place.name, value, allow_empty=True)
        elif place.is_repeated:  # how far each frame goes
            found.count(place.name, len(value), 0, 1)
            for share in value[:1]:
                found.number(place.name, share, 0, 1)
