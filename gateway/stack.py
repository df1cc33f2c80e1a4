"""What the stages behind the gateway have loaded, seen as one model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import PreconditionFailed
from unclip.options import SERVICES, SamplingSettings, ServiceName
from unclip.wire.limits import MAX_STEPS
from unclip.wire.sampling import sampling_from_proto
from unclip.wire.sizes import sizes_from_proto

# What the stages must be able to do for each capability of the gateway. "decoder:edit": that service, not any. An
# encoder that can read_text but not encode_text has the decoder's text encoder and not the CLIP's.
NEEDS: dict[str, frozenset[str]] = {
    "generate": frozenset({"encode_text", "sample", "decode", "upsample"}),
    "vary": frozenset({"read_text", "encode_image", "invert", "decode", "upsample"}),
    "text_diff": frozenset({"encode_text", "encode_image", "invert", "decode", "upsample"}),
    "interpolate": frozenset({"read_text", "encode_image", "invert", "decode", "upsample"}),
    "edit": frozenset({"encode_text", "sample", "decode", "upsample", "decoder:edit", "upsampler:edit"}),
    "embed": frozenset({"encode_text", "encode_image"}),
}


@dataclass(frozen=True)
class FastWay:
    """How decoder and upsampler sample where the quality is fast: the former by its student. usual: whether they do
    where nobody asks for another quality."""

    decoder: SamplingSettings
    upsampler: SamplingSettings
    usual: bool = False


@dataclass(frozen=True)
class StackInfo:
    """All stages as one model: the public description, and the defaults of the stages that sample. fast: None where
    all pictures are of standard quality."""

    model: model_info_pb2.ModelInfo
    prior: SamplingSettings
    decoder: SamplingSettings
    upsampler: SamplingSettings
    embeds_captions: bool = True
    fast: FastWay | None = None

    def require_captions(self) -> None:
        """Raises PreconditionFailed where captions have no embeddings, as no text encoder of the CLIP is there."""
        if not self.embeds_captions:
            reason = f"{self.model.name} has no CLIP text encoder: captions have no embeddings; it can embed pictures"
            raise PreconditionFailed("text_encoder", reason)

    def stage(self, stage: sampling_pb2.Stage.ValueType) -> model_info_pb2.StageInfo:
        """What ``stage`` says of itself; nothing where it is not there."""
        return next((info for info in self.model.stages if info.stage == stage), model_info_pb2.StageInfo())

    def side(self, stage: sampling_pb2.Stage.ValueType) -> int:
        """Side in pixels of the pictures that ``stage`` makes; 0 where it makes none or is not there."""
        return self.stage(stage).image_size

    def places(self, stage: sampling_pb2.Stage.ValueType) -> int:
        """Samples that a replica of ``stage`` has running or waiting at most; 0 where it does not report them."""
        return self.stage(stage).places

    def max_batch(self, stage: sampling_pb2.Stage.ValueType) -> float:
        """Samples that a replica of ``stage`` has in a pass at most; infinite where it does not report them."""
        return self.stage(stage).max_batch or float("inf")

    def max_steps(self, stage: sampling_pb2.Stage.ValueType) -> int:
        """How many ``stage`` may be asked for."""
        return self.stage(stage).max_steps or MAX_STEPS

    @property
    def ignores_text(self) -> bool:
        """Whether the decoder reads no text, and is guided by embeddings alone."""
        return self.stage(sampling_pb2.STAGE_DECODER).ignores_text

    def require_size(self, width: int, height: int) -> None:
        """Raises PreconditionFailed when the decoder does not paint pictures of this width and height, in pixels."""
        sizes, own = sizes_from_proto(self.stage(sampling_pb2.STAGE_DECODER)), self.side(sampling_pb2.STAGE_UPSAMPLER)
        if sizes is None or not (sizes.has(width, height) or width == height == own):
            able = sizes or f"squares of {own} px, for which neither is to be set"
            raise PreconditionFailed("width", f"{self.model.name} cannot paint {width} x {height} px; it paints {able}")

    def require(self, capability: str) -> None:
        """Raises PreconditionFailed when the loaded checkpoint lacks ``capability``, such as "vary"."""
        if capability not in self.model.capabilities:
            able = ", ".join(self.model.capabilities) or "nothing"
            raise PreconditionFailed(capability, f"{self.model.name} cannot do {capability}; it can do {able}")


def merge(infos: Mapping[ServiceName, model_info_pb2.ModelInfo]) -> StackInfo:
    """The stack that ``infos``, one per service, make together.

    Raises:
        PreconditionFailed: they speak different CLIP spaces, or embeddings of different dimensions; or decoder and
            upsampler are of different families, of which one paints other sizes.
    """
    spaces = {service: info.clip_space for service, info in infos.items() if info.clip_space}
    if len(set(spaces.values())) > 1:
        named = ", ".join(f"{service} {space[:12]}" for service, space in spaces.items())
        message = f"the stages speak different CLIP spaces: {named}; serve checkpoints of one CLIP"
        raise PreconditionFailed("clip_space", message)
    dims = {service: info.embedding_dim for service, info in infos.items() if info.embedding_dim}
    if len(set(dims.values())) > 1:
        named = ", ".join(f"{service} {dim}" for service, dim in dims.items())
        message = f"the stages' embeddings have different dimensions: {named}; serve checkpoints of one CLIP"
        raise PreconditionFailed("embedding_dim", message)
    require_one_family(infos)
    able = {name for s, info in infos.items() for c in info.capabilities for name in (c, f"{s}:{c}")}
    if "encode_text" in able:
        able.add("read_text")
    stages = {stage.stage: versioned(stage, info.version) for info in infos.values() for stage in info.stages}
    usual = quality_of(stages, infos)
    model = model_info_pb2.ModelInfo(
        name=" + ".join(distinct(info.name for info in infos.values())),
        version=version_of([infos[service].version for service in SERVICES]),
        license=" AND ".join(distinct(info.license for info in infos.values())),
        clip_space=next(iter(spaces.values()), ""),
        device=", ".join(distinct(info.device for info in infos.values())),
        capabilities=[capability for capability, needs in NEEDS.items() if needs <= able],
        stages=[stages[number] for number in sorted(stages)],
        caption_template=next((info.caption_template for info in infos.values() if info.caption_template), "{}"),
        embedding_dim=next((info.embedding_dim for info in infos.values() if info.embedding_dim), 0),
        captions=next((info.captions for info in infos.values() if info.captions), ()),
        quality=usual,
    )

    def defaults(number: sampling_pb2.Stage.ValueType) -> SamplingSettings:
        return sampling_from_proto(stages[number].defaults) if number in stages else SamplingSettings()

    def fast(number: sampling_pb2.Stage.ValueType) -> SamplingSettings:
        told = number in stages and stages[number].HasField("fast")
        return sampling_from_proto(stages[number].fast) if told else defaults(number)

    decoder, upsampler = sampling_pb2.STAGE_DECODER, sampling_pb2.STAGE_UPSAMPLER
    return StackInfo(
        model,
        prior=defaults(sampling_pb2.STAGE_PRIOR),
        decoder=defaults(decoder),
        upsampler=defaults(upsampler),
        embeds_captions="encode_text" in able,
        fast=FastWay(fast(decoder), fast(upsampler), usual == sampling_pb2.QUALITY_FAST) if usual else None,
    )


def quality_of(
    stages: Mapping[sampling_pb2.Stage.ValueType, model_info_pb2.StageInfo],
    infos: Mapping[ServiceName, model_info_pb2.ModelInfo],
) -> sampling_pb2.Quality.ValueType:
    """The quality of a Generate that asks for none: fast where decoder and upsampler agree; unspecified without one."""
    if not (sampling_pb2.STAGE_DECODER in stages and stages[sampling_pb2.STAGE_DECODER].HasField("fast")):
        return sampling_pb2.QUALITY_UNSPECIFIED
    agreed = all(infos[service].quality == sampling_pb2.QUALITY_FAST for service in ("decoder", "upsampler"))
    return sampling_pb2.QUALITY_FAST if agreed else sampling_pb2.QUALITY_STANDARD


def require_one_family(infos: Mapping[ServiceName, model_info_pb2.ModelInfo]) -> None:
    """Raises PreconditionFailed where the upsampler cannot take what the decoder makes: latents have an autoencoder in
    its place, which paints the decoder's own sizes."""
    names = {sampling_pb2.STAGE_DECODER: "decoder", sampling_pb2.STAGE_UPSAMPLER: "upsampler"}
    told = {names[stage.stage]: stage for info in infos.values() for stage in info.stages if stage.stage in names}
    painted = {(stage.image_size, sizes_from_proto(stage)) for stage in told.values()}
    if len(painted) > 1 and any(sizes for _, sizes in painted):
        able = {name: (f"{stage.image_size} px", sizes_from_proto(stage)) for name, stage in told.items()}
        named = "; ".join(
            f"{name} {own}, or {sizes}" if sizes else f"{name} {own}" for name, (own, sizes) in able.items()
        )
        raise PreconditionFailed(
            "sizes", f"decoder and upsampler paint different sizes: {named}; serve both of one checkpoint"
        )


def versioned(stage: model_info_pb2.StageInfo, version: str) -> model_info_pb2.StageInfo:
    """``stage`` with its version, which a stack has several of."""
    info = model_info_pb2.StageInfo(version=version)
    info.MergeFrom(stage)
    return info


def distinct(values: Iterable[str]) -> list[str]:
    """The values that are not empty, each once, in order."""
    return [value for value in dict.fromkeys(values) if value]


def version_of(versions: Sequence[str]) -> str:
    """Version of a stack whose stages have ``versions``: theirs when they agree, else a digest over all, in hex."""
    return versions[0] if len(set(versions)) == 1 else hashlib.sha256("\n".join(versions).encode()).hexdigest()
