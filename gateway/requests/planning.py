"""From a public request to its plan: every rule is checked, and every broken one reported at once.

Field paths are those of the request as it was sent: ``caption`` in Generate, ``generate.caption`` in Stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from google.protobuf.message import Message

from gateway.requests.masks import read_subject
from gateway.requests.outputs import read_output
from gateway.requests.plan import (
    EditPlan,
    GeneratePlan,
    InterpolatePlan,
    Output,
    Plan,
    SourceImage,
    TextDiffPlan,
    VaryPlan,
    seed_of_image,
)
from gateway.requests.quality import is_fast, read_quality
from gateway.requests.reading import Reader, read_image, source_of
from gateway.stack import StackInfo
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.errors import PreconditionFailed
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding
from unclip.wire.images import MAX_BYTES_TOGETHER, MAX_TOGETHER, decode_cost
from unclip.wire.limits import (
    MAX_CANDIDATES,
    MAX_CAPTIONS,
    MAX_IMAGES,
    MAX_PREVIEW_INTERVAL,
    MAX_RANKED,
    RANGES,
)
from unclip.wire.notices import Notice, profile_unusable

DEFAULT_CANDIDATES = 2  # section 2.2 of the paper
DEFAULT_THETA = 0.5
DEFAULT_T = 0.5
DEFAULT_RESAMPLING = 2  # more changed little in the pictures looked at
IMAGE = image_pb2.Image.DESCRIPTOR
PRIOR, DECODER = sampling_pb2.STAGE_PRIOR, sampling_pb2.STAGE_DECODER


def plan_of(request: gateway_pb2.StreamRequest, info: StackInfo, nested: bool) -> Plan:
    """The plan of ``request`` on a stack with ``info``. ``nested``: it was sent as a StreamRequest, not on its own.

    Raises:
        InvalidRequest: with every violation.
        PreconditionFailed: an embedding is of another CLIP, or the stack paints no pictures of that width and height,
            or has no fast way.
    """
    kind = request.WhichOneof("request")
    watched = Reader()
    watched.between("preview_interval", request.preview_interval, 0, MAX_PREVIEW_INTERVAL)
    if kind is None:
        watched.refuse("request", f"must be one of {', '.join(READERS)}; got none")
        watched.done()
    assert kind is not None
    prefix, filled = f"{kind}." if nested else "", without_pictures(request, kind)
    reader = watched.under(prefix, getattr(filled, kind))
    if kind == "generate":
        info = read_quality(request.generate, info, reader)
    output = read_output(info, reader, request.preview_interval)
    plan = READERS[kind](getattr(request, kind), info, reader, output)
    reader.done()
    if isinstance(plan, GeneratePlan) and plan.embedding is not None:
        require_clip(plan.embedding, f"{prefix}embedding", info)
    return replace(plan, request=filled, notices=notices_of(getattr(request, kind), plan.sources))


def notices_of(asked: Message, sources: Sequence[SourceImage]) -> tuple[Notice, ...]:
    """What there is to say of the pictures that came with a request."""
    fields = [field.name for field, _ in asked.ListFields() if field.message_type == IMAGE]
    return tuple(
        profile_unusable(field) for field, source in zip(fields, sources, strict=True) if source.unusable_profile
    )


def without_pictures(request: gateway_pb2.StreamRequest, kind: str) -> gateway_pb2.StreamRequest:
    """What ``request`` asks for, as far as this code knows its fields: without its pictures, and how it is watched."""
    filled = gateway_pb2.StreamRequest()
    asked, copy = getattr(request, kind), getattr(filled, kind)
    copy.SetInParent()
    for field, value in asked.ListFields():
        if field.is_repeated:
            getattr(copy, field.name).extend(value)
        elif field.message_type is None:
            setattr(copy, field.name, value)
        elif field.message_type != IMAGE:
            getattr(copy, field.name).CopyFrom(value)
    filled.DiscardUnknownFields()
    return filled


def require_clip(embedding: Embedding, field: str, info: StackInfo) -> None:
    """Raises PreconditionFailed when ``embedding`` is of another CLIP than the stack's."""
    if embedding.clip_space != info.model.clip_space:
        raise PreconditionFailed(
            f"{field}.clip_space",
            f"the embedding is of CLIP {embedding.clip_space[:12] or 'unnamed'}, "
            f"this stack speaks {info.model.clip_space[:12]}",
        )


def read_generate(
    request: gateway_pb2.GenerateRequest | gateway_pb2.EditRequest, info: StackInfo, reader: Reader, output: Output
) -> GeneratePlan:
    """The plan of a Generate that comes to ``output``; what breaks a rule goes to ``reader``."""
    given = isinstance(request, gateway_pb2.GenerateRequest) and request.HasField("embedding")
    caption = reader.caption("caption", request.caption, allow_empty=given)
    if given:
        for field in ("prior", "prior_candidates"):
            if request.HasField(field):
                reader.refuse(field, "must be unset where an embedding is given: the prior is not asked for one")
        if request.HasField("candidates") and not caption:
            reader.refuse("candidates", f"must be unset without a caption to rank by; got {request.candidates}")
    # More than a prior has places for could never be served.
    most = min(MAX_CANDIDATES, info.places(PRIOR) or MAX_CANDIDATES)
    candidates = reader.number("prior_candidates", min(DEFAULT_CANDIDATES, most), 1, most)
    prior = reader.sampling("prior", info.prior, info.max_steps(PRIOR))
    decoder = reader.sampling("decoder", info.decoder, info.max_steps(DECODER))
    negative_caption = reader.caption("negative_caption", request.negative_caption, allow_empty=True)
    fast = isinstance(request, gateway_pb2.GenerateRequest) and is_fast(reader)
    if negative_caption and fast:
        reader.refuse("negative_caption", f"must be empty with QUALITY_FAST; got {request.negative_caption!r:.60}")
    elif negative_caption and decoder.guidance_scale == 1 and (given or prior.guidance_scale == 1):
        reader.refuse(
            "negative_caption",
            "must be empty where neither prior nor decoder is guided; their guidance scales are 1",
        )
    if given:
        for field in ("prior", "prior_candidates"):  # read to check them; the prior is not asked
            reader.asked.ClearField(field)
    return GeneratePlan(
        caption=caption,
        seeds=read_candidate_seeds(request, reader) if request.HasField("candidates") else read_seeds(reader),
        candidates=candidates,
        prior=prior,
        decoder=decoder,
        output=output,
        negative_caption=negative_caption,
        keep=reader.asked.image_count if request.HasField("candidates") else None,
        embedding=reader.embedding("embedding", info.model.clip_space, info.model.embedding_dim) if given else None,
        away_sampled=bool(negative_caption) and decoder.guidance_scale != 1 and info.ignores_text,
        fast=fast,
    )


def read_vary(request: gateway_pb2.VaryRequest, info: StackInfo, reader: Reader, output: Output) -> VaryPlan:
    """The plan of a Vary, as ``read_generate``."""
    eta = reader.number("eta", 1.0, *RANGES["eta"])
    if request.decoder.HasField("eta"):
        reader.refuse("decoder.eta", f"must be unset, the request's own eta stands for it; got {request.decoder.eta:g}")
    decoder = reader.sampling("decoder", inversion_defaults(info.decoder), info.max_steps(DECODER), ddim_only=True)
    reader.asked.decoder.ClearField("eta")
    read_report_psnr(request, reader)
    fit = reader.choice("fit")
    return VaryPlan(
        image=reader.image("image", request.image, fit, output.painted(1)),
        seeds=read_seeds(reader),
        start=reader.choice("start"),
        decoder=replace(decoder, eta=eta),
        output=output,
        fit=fit,
        report_psnr=request.report_psnr,
    )


def read_text_diff(
    request: gateway_pb2.TextDiffRequest, info: StackInfo, reader: Reader, output: Output
) -> TextDiffPlan:
    """The plan of a TextDiff, as ``read_generate``."""
    before, after = reader.caption("before", request.before, allow_empty=True), reader.caption("after", request.after)
    fit = reader.choice("fit")
    return TextDiffPlan(
        image=reader.image("image", request.image, fit, output.painted(1)),
        before=before,
        after=after,
        thetas=reader.frames("thetas", DEFAULT_THETA),
        seed=reader.seed(),
        decoder=reader.sampling("decoder", inversion_defaults(info.decoder), info.max_steps(DECODER), ddim_only=True),
        output=output,
        fit=fit,
        report_psnr=request.report_psnr,
    )


def read_interpolate(
    request: gateway_pb2.InterpolateRequest, info: StackInfo, reader: Reader, output: Output
) -> InterpolatePlan:
    """The plan of an Interpolate, as ``read_generate``."""
    to = request.WhichOneof("to")
    if to is None:
        reader.refuse("to", "must be to_image or to_caption; got none")
    to_caption = reader.caption("to_caption", request.to_caption) if to == "to_caption" else ""
    if to != "to_caption" and request.HasField("prior"):
        reader.refuse("prior", "must be unset without to_caption: only a caption goes through the prior")
    prior = reader.sampling("prior", info.prior, info.max_steps(PRIOR))
    if to != "to_caption":
        reader.asked.ClearField("prior")
    read_report_psnr(request, reader)
    fit, shape = reader.choice("fit"), output.painted(1)
    return InterpolatePlan(
        image=reader.image("image", request.image, fit, shape),
        to_image=reader.image("to_image", request.to_image, fit, shape) if to == "to_image" else None,
        to_caption=to_caption,
        ts=reader.frames("ts", DEFAULT_T),
        start=reader.choice("start"),
        seed=reader.seed(),
        candidates=min(DEFAULT_CANDIDATES, info.places(PRIOR) or DEFAULT_CANDIDATES),
        prior=prior,
        decoder=reader.sampling("decoder", inversion_defaults(info.decoder), info.max_steps(DECODER), ddim_only=True),
        output=output,
        fit=fit,
        report_psnr=request.report_psnr,
    )


def read_edit(request: gateway_pb2.EditRequest, info: StackInfo, reader: Reader, output: Output) -> EditPlan:
    """The plan of an Edit, as ``read_generate``."""
    resampling = reader.number("resampling", DEFAULT_RESAMPLING, *RANGES["resampling"])
    fit = reader.choice("fit")
    mask = request.mask if request.HasField("mask") else None
    side = max(1, info.side(sampling_pb2.STAGE_UPSAMPLER))  # without an upsampler nobody gets as far as using it
    return EditPlan(
        generation=read_generate(request, replace(info, decoder=inpainting_defaults(info.decoder)), reader, output),
        subject=read_subject(request.image, mask, fit, output.painted(side), reader),
        sources=tuple(source_of(image) for image in (request.image, mask) if image is not None),
        resampling=resampling,
        fit=fit,
    )


READERS: Mapping[str, Callable[[Any, StackInfo, Reader, Output], Plan]] = {
    "generate": read_generate,
    "vary": read_vary,
    "text_diff": read_text_diff,
    "interpolate": read_interpolate,
    "edit": read_edit,
}


def read_report_psnr(request: gateway_pb2.VaryRequest | gateway_pb2.InterpolateRequest, reader: Reader) -> None:
    """Only an inversion can be measured."""
    if request.report_psnr and request.start == gateway_pb2.START_RANDOM:
        reader.refuse("report_psnr", "must be unset with START_RANDOM, which inverts nothing; got true")


def pictures_in(request: gateway_pb2.StreamRequest | gateway_pb2.EmbedRequest) -> list[image_pb2.Image]:
    """The picture files that a request brings, as many of them as are read."""
    asked: Message | None = request
    if isinstance(request, gateway_pb2.StreamRequest):
        kind = request.WhichOneof("request")
        asked = None if kind is None else getattr(request, kind)
    fields = [] if asked is None else asked.ListFields()
    found = [value if field.is_repeated else [value] for field, value in fields if field.message_type == IMAGE]
    return [image for images in found for image in images[:MAX_IMAGES]]


def read_embed(request: gateway_pb2.EmbedRequest, reader: Reader) -> list[tuple[int, Callable[[], SourceImage]]]:
    """What reading each picture of an Embed costs, in pixels, and what reads it.

    What breaks a rule goes to ``reader``; a picture that does raises it.

    Raises:
        InvalidRequest: the pictures have too many bytes or pixels together, with every violation that is known without
            them.
    """
    reader.at_most("captions", len(request.captions), MAX_CAPTIONS)
    reader.at_most("images", len(request.images), MAX_IMAGES)
    for index, caption in enumerate(request.captions[:MAX_CAPTIONS]):
        reader.caption(f"captions[{index}]", caption, allow_empty=True)
    fit = reader.under("", request).choice("fit")
    size = sum(len(image.data) for image in request.images)
    costs = [decode_cost([image]) for image in pictures_in(request)]
    if size > MAX_BYTES_TOGETHER:
        reader.refuse("images", f"must be at most {MAX_BYTES_TOGETHER} bytes together; got {size}")
        reader.done()
    if sum(costs) > MAX_TOGETHER:
        reader.refuse("images", f"must be at most {MAX_TOGETHER} pixels together; got {sum(costs)}")
        reader.done()
    return [
        (cost, partial(read_image, f"images[{index}]", image, fit))
        for index, (cost, image) in enumerate(zip(costs, request.images, strict=False))
    ]


def read_candidate_seeds(
    request: gateway_pb2.GenerateRequest | gateway_pb2.EditRequest, reader: Reader
) -> tuple[int, ...]:
    """The seed of each picture that is made so that the best can be kept."""
    first = read_seeds(reader)[:1]
    reader.between("candidates", request.candidates, max(1, reader.asked.image_count), MAX_RANKED)
    return tuple(seed_of_image(first[0], row) for row in range(min(request.candidates, MAX_RANKED))) if first else ()


def read_seeds(reader: Reader) -> tuple[int, ...]:
    """The seed of each picture asked for."""
    count, seed = reader.number("image_count", 1, *RANGES["image_count"]), reader.seed()
    return tuple(seed_of_image(seed, index) for index in range(min(count, MAX_IMAGES)))


def inversion_defaults(decoder: SamplingSettings) -> SamplingSettings:
    """The decoder's defaults where a picture is to be met again: DDIM without fresh noise, unguided as inversion is."""
    return replace(decoder, sampler="ddim", guidance_scale=1.0, eta=0.0)


def inpainting_defaults(decoder: SamplingSettings) -> SamplingSettings:
    """The decoder's defaults where a part of the picture is known: DDPM.

    In pictures looked at, DPM++ 2M at its few steps left broken shapes where DDPM at as many did not. Step sizes
    across the mask's border are about the same for both; it is guidance that moves them (``training.edits``).
    """
    return replace(decoder, sampler="ddpm", eta=0.0)
