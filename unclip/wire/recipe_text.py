"""The recipe inside a picture file: what made it, as text that Pillow, exiftool and eyes can read.

The text is canonical JSON in ASCII, ``{"model_version", "recipe", "source_digests", "stage_versions",
"unclip_recipe"}``: keys sorted, no spaces, ``recipe`` as protobuf writes a StreamRequest in JSON. Equal recipes give
equal text, hence equal files. A PNG has it in the tEXt chunk ``unclip-recipe``, JPEG and WebP in EXIF's UserComment.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf import json_format
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2
from unclip.checkpoints.untrusted import read_json
from unclip.errors import InvalidRequest
from unclip.wire.bare_pictures import chunks_of
from unclip.wire.by_name import brief
from unclip.wire.images import FORMATS, check_image
from unclip.wire.picture_headers import PNG

VERSION = 1
VERSION_KEY = "unclip_recipe"
PNG_KEYWORD = "unclip-recipe"
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286  # of the EXIF standard
ASCII_COMMENT = b"ASCII\0\0\0"  # how a UserComment says that it is ASCII

# EXIF holds less than 64 KiB. Two captions of 4 KiB, every letter escaped, and an embedding of 4096 numbers fit.
MAX_BYTES = 60_000


@dataclass(frozen=True)
class RecipeText:
    """What a picture file says of its making: the request, its sources left out, the model, and the sources' sha256.

    stage_versions: of each stage that had a part in it; empty in files from before they were written.
    """

    request: gateway_pb2.StreamRequest
    model_version: str
    source_digests: tuple[str, ...] = ()
    stage_versions: Mapping[str, str] = field(default_factory=dict)


def write_text(recipe: RecipeText) -> str:
    """``recipe`` as canonical JSON in ASCII."""
    fields = {
        VERSION_KEY: VERSION,
        "recipe": json_format.MessageToDict(recipe.request, preserving_proto_field_name=True),
        "model_version": recipe.model_version,
        "source_digests": list(recipe.source_digests),
        "stage_versions": dict(recipe.stage_versions),
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def read_text(text: str, field: str) -> RecipeText:
    """The recipe that ``text`` is.

    Raises:
        InvalidRequest: it is damaged, or of another version, naming ``field``.
    """
    try:
        parsed = read_json(text)
        json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair is no text, and breaks protobuf
        version = parsed[VERSION_KEY]
    except (ValueError, TypeError, LookupError):
        raise InvalidRequest.of(field, "holds a damaged recipe: it is not the JSON that was written") from None
    if version != VERSION:
        found = brief(version)
        raise InvalidRequest.of(field, f"holds a recipe of version {found}; this client reads version {VERSION}")
    try:
        request = json_format.ParseDict(parsed["recipe"], gateway_pb2.StreamRequest())
        model_version, digests, stages = (
            parsed["model_version"],
            parsed["source_digests"],
            parsed.get("stage_versions", {}),
        )
    except (json_format.ParseError, LookupError, TypeError) as error:
        said = " ".join(str(error).split())[:300]
        raise InvalidRequest.of(field, f"holds a damaged recipe, or one with news for this client: {said}") from None
    if not isinstance(model_version, str) or not _all_strings(digests) or request.WhichOneof("request") is None:
        raise InvalidRequest.of(field, "holds a damaged recipe: request, model_version or source_digests is missing")
    if not isinstance(stages, dict) or not _all_strings(list(stages.values())):
        raise InvalidRequest.of(field, "holds a damaged recipe: stage_versions must name a version of each stage")
    return RecipeText(request, model_version, tuple(digests), stages)


def find_text(data: bytes, field: str) -> str:
    """The text of the recipe in a PNG, JPEG or WebP file.

    Raises:
        InvalidRequest: it is no such file, or has no recipe, naming ``field``.
    """
    try:
        check_image(image_pb2.Image(data=data), field)
        if data.startswith(PNG):  # Pillow reads none with a large text beside
            text = _png_text(data)
        else:
            with Image.open(io.BytesIO(data), formats=list(FORMATS)) as picture:
                text = _user_comment(picture)
    except Exception:
        raise InvalidRequest.of(field, "must be a whole PNG, JPEG or WebP file") from None
    if not text:
        raise InvalidRequest.of(field, "holds no recipe: it was not made by unclip, or another program saved it anew")
    return text


def png_info(text: str) -> PngInfo:
    """What Pillow needs to write ``text`` into a PNG."""
    info = PngInfo()
    info.add_text(PNG_KEYWORD, text)
    return info


def exif(text: str) -> bytes:
    """An EXIF block with ``text`` as its only entry, for JPEG and WebP."""
    block = Image.Exif()
    block.get_ifd(EXIF_IFD)[USER_COMMENT] = ASCII_COMMENT + text.encode("ascii")
    return block.tobytes()


def _png_text(data: bytes) -> str:
    """The text of a PNG's tEXt by the keyword of recipes, else nothing."""
    keyword = PNG_KEYWORD.encode() + b"\0"
    found = (data[at : at + length] for name, at, length in chunks_of(data) if name == b"tEXt")
    return next((text[len(keyword) :].decode("latin-1") for text in found if text.startswith(keyword)), "")


def _user_comment(picture: Image.Image) -> str:
    """EXIF's UserComment where it claims to be a recipe, else nothing."""
    comment = picture.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT, b"")
    if not isinstance(comment, bytes) or not comment.startswith(ASCII_COMMENT):
        return ""
    text = comment[len(ASCII_COMMENT) :].rstrip(b"\0").decode("ascii", "replace")
    return text if VERSION_KEY in text else ""


def _all_strings(values: Sequence[object]) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
