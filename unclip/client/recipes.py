"""Recipes: reading them from picture files, and putting their source pictures back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from unclip.client.answers import GeneratedImage, ImageFile, ModelInfo, Recipe
from unclip.client.messages import recipe_of
from unclip.client.pictures import file_bytes
from unclip.client.values import KINDS, Edit, Interpolate, Picture, Request, picture_count
from unclip.errors import InvalidRequest, PreconditionFailed
from unclip.wire.by_name import brief, listed
from unclip.wire.images import MAX_BYTES
from unclip.wire.recipe_rules import require_one_picture
from unclip.wire.recipe_text import find_text, read_text

PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}


def read_recipe(picture: Picture | ImageFile) -> Recipe:
    """The recipe inside a picture file that this project made: a path, the file's bytes, or a picture as it came.

    Raises:
        InvalidRequest: the file has no recipe, a damaged one, one of another version, or one that asks for more than
            one picture.
    """
    data = file_bytes(picture.data if isinstance(picture, ImageFile) else picture, "picture")
    text = read_text(find_text(data, "picture"), "picture")
    require_one_picture(text, "picture")
    return recipe_of(text)


def complete(recipe: Recipe, sources: Sequence[Picture]) -> Request:
    """The request of ``recipe`` with its pictures back in their places, found among ``sources`` by their sha256.

    Raises:
        InvalidRequest: one is missing, naming its digest.
    """
    if not isinstance(recipe, Recipe):
        raise InvalidRequest.of("recipe", f"must be a Recipe; got {brief(recipe)}")
    if not isinstance(recipe.request, tuple(KINDS.values())):
        raise InvalidRequest.of("recipe", f"must hold a request; got {brief(recipe.request)}")
    request = recipe.request
    if (pictures := picture_count(request)) != 1:
        raise InvalidRequest.of("recipe", f"must be of one picture; got one of {pictures}")
    places = [each.name for each in fields(request) if each.name in ("image", "to", "mask")]
    if isinstance(request, Interpolate) and request.to_caption:
        places.remove("to")
    optional, count = 1 if isinstance(request, Edit) else 0, len(recipe.source_digests)
    if not len(places) - optional <= count <= len(places):
        raise InvalidRequest.of("recipe", f"is damaged: {type(request).__name__} does not begin with {count} pictures")
    files = [file_bytes(source, f"sources[{index}]") for index, source in enumerate(listed(sources, "sources"))]
    by_digest = {hashlib.sha256(file).hexdigest(): file for file in files}
    if missing := [digest for digest in recipe.source_digests if digest not in by_digest]:
        raise InvalidRequest.of(
            "sources",
            f"must hold every picture that the recipe began with; missing is sha256 {', '.join(missing)}",
        )
    found = [by_digest[digest] for digest in recipe.source_digests]
    return replace(request, **dict(zip(places, found, strict=False)))  # type: ignore[arg-type]


def require_model(recipe: Recipe, model: ModelInfo) -> None:
    """Raises PreconditionFailed when ``model`` is not the one that made the picture: when a stage that had a part in it
    has another version. Of a file that does not name the stages' versions the whole stack's counts."""
    versions = {str(stage.stage): stage.version for stage in model.stages}
    if not recipe.stage_versions or not all(versions.values()):
        if model.version != recipe.model_version:
            raise _mismatch("model version", recipe.model_version, f"{model.version} ({model.name})")
        return
    _require_versions(recipe, versions)


def require_maker(recipe: Recipe, picture: GeneratedImage) -> GeneratedImage:
    """``picture``, made from ``recipe`` again. Raises PreconditionFailed when another model made it, which may have
    come after the server was asked for its own."""
    if recipe.stage_versions and picture.stage_versions:
        _require_versions(recipe, picture.stage_versions)
    elif picture.model_version != recipe.model_version:
        raise _mismatch("model version", recipe.model_version, picture.model_version)
    return picture


def _require_versions(recipe: Recipe, versions: Mapping[str, str]) -> None:
    for stage, version in recipe.stage_versions.items():
        if versions.get(stage) != version:
            raise _mismatch(f"{stage} version", version, versions.get(stage) or f"no {stage}")


def _mismatch(what: str, before: str, now: str) -> PreconditionFailed:
    return PreconditionFailed("model_version", f"the picture was made by {what} {before}, the server has {now}")


def find_sources(digests: Iterable[str], places: Sequence[Path]) -> list[Path]:
    """Files among ``places`` whose sha256 is one of ``digests``; of a folder, the picture files right inside.

    Looks no further than it must; what is not found is left out.

    Raises:
        InvalidRequest: a place does not exist.
    """
    missing, found = set(digests), []
    for place in places:
        if not place.exists():
            raise InvalidRequest.of("sources", f"cannot read {place}: there is no such file or folder")
    for path in candidates(places) if missing else ():
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue  # a file we may not read is none of ours
        if digest in missing:
            missing.remove(digest)
            found.append(path)
            if not missing:
                break
    return found


def candidates(places: Sequence[Path]) -> Iterator[Path]:
    """The files among ``places``, and the picture files right inside its folders, that are small enough to be sent."""
    for place in places:
        inside = (
            sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURE_ENDINGS)
            if place.is_dir()
            else [place]
        )
        yield from (path for path in inside if path.is_file() and path.stat().st_size <= MAX_BYTES)
