"""How a checkpoint's ``unclip.json`` says its stages sample, unasked and where the quality is fast, and in what sizes.

All raise CheckpointError where it says what cannot be used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from unclip.checkpoints.components import STUDENT_FOLDERS
from unclip.checkpoints.manifest import MANIFEST
from unclip.errors import CheckpointError
from unclip.options import FAST_GUIDANCE, QUALITIES, SAMPLERS, Quality, SamplingSettings, Sizes

FAST_STAGES = ("decoder", "upsampler")
STEPS, GUIDANCE = (1, 1000), (0.0, 30.0)  # as requests have them


def settings_of(
    manifest: Mapping[str, Any], entry: str, stage: str, guidance: tuple[float, float] = GUIDANCE
) -> SamplingSettings:
    """What ``entry`` has for ``stage``, with a guidance scale in that range. An eta is asked for, and no default."""
    try:
        told = manifest[entry][stage]
        steps, eta = told["steps"], told.get("eta", 0.0)
        settings = SamplingSettings(told["sampler"], steps, float(told["guidance_scale"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"checkpoint: {MANIFEST}: {entry} of {stage} are incomplete: {error!r}") from error
    (fewest, most), (low, high) = STEPS, guidance
    within = type(steps) is int and fewest <= steps <= most and low <= settings.guidance_scale <= high
    if settings.sampler not in SAMPLERS or not within or eta != 0.0:
        raise CheckpointError(f"checkpoint: {MANIFEST}: {entry} of {stage} are out of range: {told}")
    return settings


def fast_settings(manifest: Mapping[str, Any], listed: Collection[str], stage: str) -> SamplingSettings | None:
    """How ``stage`` samples where the quality is fast, None where as ever. listed: components of the checkpoint."""
    told = manifest.get("fast", {})
    if not isinstance(told, dict) or not set(told) <= set(FAST_STAGES):
        raise CheckpointError(f"checkpoint: {MANIFEST}: fast must have settings of decoder and upsampler alone")
    if told and "decoder" not in told:
        raise CheckpointError(f"checkpoint: {MANIFEST}: fast has settings of the upsampler, and none of the decoder")
    if stage not in told:
        return None
    if stage == "upsampler":
        return settings_of(manifest, "fast", stage)
    if lacking := [name for name in STUDENT_FOLDERS if name not in listed]:
        raise CheckpointError(f"checkpoint: {MANIFEST}: fast names the decoder, which has no {lacking[0]}")
    return settings_of(manifest, "fast", stage, FAST_GUIDANCE)


def quality_of(manifest: Mapping[str, Any], listed: Collection[str]) -> Quality:
    """The quality of pictures where nobody asks for another."""
    told = manifest.get("quality", "standard")
    found = next((quality for quality in QUALITIES if quality == told), None)
    if found is None:
        raise CheckpointError(f"checkpoint: {MANIFEST}: quality must be {' or '.join(QUALITIES)}; got {told!r}")
    if found == "fast" and fast_settings(manifest, listed, "decoder") is None:
        raise CheckpointError(f"checkpoint: {MANIFEST}: quality is fast, yet fast has no settings of the decoder")
    return found


def sizes_of(manifest: Mapping[str, Any]) -> Sizes | None:
    """What may be asked for besides the usual one, None for nothing."""
    if (told := manifest.get("sizes")) is None:
        return None
    names = [each.name for each in fields(Sizes)]
    if not isinstance(told, dict) or any(type(told.get(name)) is not int or told[name] < 1 for name in names):
        raise CheckpointError(f"checkpoint: {MANIFEST}: sizes must have {', '.join(names)}, each 1 or more")
    return Sizes(**{name: told[name] for name in names})
