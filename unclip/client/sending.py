"""From the client's values to messages. What can be refused without asking the server raises InvalidRequest."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.client.values import (
    DEFAULTS,
    Edit,
    FileFormat,
    Fit,
    Generate,
    Interpolate,
    Picture,
    Request,
    Sampling,
    TextDiff,
    Vary,
)
from unclip.errors import InvalidRequest
from unclip.wire.sampling import NUMBERS as SAMPLERS

MAX_FILE_BYTES = 10 * 1024 * 1024

FORMATS: dict[FileFormat, gateway_pb2.ImageFormat.ValueType] = {
    "png": gateway_pb2.IMAGE_FORMAT_PNG,
    "jpeg": gateway_pb2.IMAGE_FORMAT_JPEG,
    "webp": gateway_pb2.IMAGE_FORMAT_WEBP,
}
FITS: dict[Fit, gateway_pb2.Fit.ValueType] = {
    "crop": gateway_pb2.FIT_CENTER_CROP,
    "letterbox": gateway_pb2.FIT_LETTERBOX,
}
STARTS = {"inverted": gateway_pb2.START_INVERTED, "random": gateway_pb2.START_RANDOM}


def stream_message(request: Request, preview_interval: int = 0) -> gateway_pb2.StreamRequest:
    """The message that asks for ``request`` as a stream. Raises InvalidRequest."""
    try:
        match request:
            case Generate():
                return gateway_pb2.StreamRequest(generate=generate_message(request), preview_interval=preview_interval)
            case Vary():
                return gateway_pb2.StreamRequest(vary=vary_message(request), preview_interval=preview_interval)
            case TextDiff():
                return gateway_pb2.StreamRequest(
                    text_diff=text_diff_message(request), preview_interval=preview_interval
                )
            case Interpolate():
                return gateway_pb2.StreamRequest(
                    interpolate=interpolate_message(request), preview_interval=preview_interval
                )
            case Edit():
                return gateway_pb2.StreamRequest(edit=edit_message(request), preview_interval=preview_interval)
    # protobuf: a number beyond its type, a caption that is not Unicode; an embedding of other numbers than float32
    except (ValueError, TypeError) as error:
        raise InvalidRequest.of("request", str(error)) from error


def generate_message(request: Generate) -> gateway_pb2.GenerateRequest:
    """``request`` as a message."""
    return gateway_pb2.GenerateRequest(
        caption=request.caption,
        seed=request.seed,
        image_count=request.image_count,
        prior_candidates=request.prior_candidates,
        prior=None if request.prior == DEFAULTS else sampling_message("prior", request.prior),
        decoder=sampling_message("decoder", request.decoder),
        upsampler=sampling_message("upsampler", request.upsampler),
        format=format_number(request.format),
        negative_caption=request.negative_caption,
        candidates=request.candidates,
        embedding=None if request.embedding is None else request.embedding.to_proto(),
    )


def vary_message(request: Vary) -> gateway_pb2.VaryRequest:
    """``request`` as a message."""
    if request.start not in STARTS:
        raise InvalidRequest.of("start", f"must be one of {', '.join(STARTS)}; got {request.start!r}")
    return gateway_pb2.VaryRequest(
        image=source_message("image", request.image),
        seed=request.seed,
        image_count=request.image_count,
        eta=request.eta,
        start=STARTS[request.start],
        decoder=sampling_message("decoder", request.decoder),
        upsampler=sampling_message("upsampler", request.upsampler),
        format=format_number(request.format),
        fit=fit_number(request.fit),
        report_psnr=request.report_psnr,
    )


def text_diff_message(request: TextDiff) -> gateway_pb2.TextDiffRequest:
    """``request`` as a message."""
    return gateway_pb2.TextDiffRequest(
        image=source_message("image", request.image),
        before=request.before,
        after=request.after,
        thetas=request.thetas,
        seed=request.seed,
        decoder=sampling_message("decoder", request.decoder),
        upsampler=sampling_message("upsampler", request.upsampler),
        format=format_number(request.format),
        fit=fit_number(request.fit),
        report_psnr=request.report_psnr,
    )


def interpolate_message(request: Interpolate) -> gateway_pb2.InterpolateRequest:
    """``request`` as a message."""
    if request.start not in STARTS:
        raise InvalidRequest.of("start", f"must be one of {', '.join(STARTS)}; got {request.start!r}")
    if request.to is not None and request.to_caption:
        raise InvalidRequest.of("to_caption", f"must be empty where to is a picture; got {request.to_caption!r}")
    message = gateway_pb2.InterpolateRequest(
        image=source_message("image", request.image),
        ts=request.ts,
        start=STARTS[request.start],
        seed=request.seed,
        prior=None if request.prior == DEFAULTS else sampling_message("prior", request.prior),
        decoder=sampling_message("decoder", request.decoder),
        upsampler=sampling_message("upsampler", request.upsampler),
        format=format_number(request.format),
        fit=fit_number(request.fit),
        report_psnr=request.report_psnr,
    )
    if request.to_caption:
        message.to_caption = request.to_caption
    else:
        message.to_image.CopyFrom(source_message("to", request.to))
    return message


def edit_message(request: Edit) -> gateway_pb2.EditRequest:
    """``request`` as a message."""
    return gateway_pb2.EditRequest(
        image=source_message("image", request.image),
        mask=None if request.mask is None else image_message("mask", request.mask),
        caption=request.caption,
        negative_caption=request.negative_caption,
        seed=request.seed,
        image_count=request.image_count,
        prior_candidates=request.prior_candidates,
        prior=sampling_message("prior", request.prior),
        decoder=sampling_message("decoder", request.decoder),
        upsampler=sampling_message("upsampler", request.upsampler),
        format=format_number(request.format),
        resampling=request.resampling,
        fit=fit_number(request.fit),
        candidates=request.candidates,
    )


def embed_message(captions: Sequence[str], images: Sequence[Picture], fit: Fit = "crop") -> gateway_pb2.EmbedRequest:
    """The message that asks for embeddings. Raises InvalidRequest."""
    if isinstance(captions, str):
        raise InvalidRequest.of("captions", "must be a list of captions; got one caption")
    sources = [image_message(f"images[{index}]", image) for index, image in enumerate(images)]
    try:
        return gateway_pb2.EmbedRequest(captions=captions, images=sources, fit=fit_number(fit))
    except ValueError as error:
        raise InvalidRequest.of("captions", str(error)) from error


def sampling_message(field: str, sampling: Sampling) -> sampling_pb2.SamplingOptions:
    """``sampling`` with what is None left unset."""
    if sampling.sampler is not None and sampling.sampler not in SAMPLERS:
        raise InvalidRequest.of(f"{field}.sampler", f"must be one of {', '.join(SAMPLERS)}; got {sampling.sampler!r}")
    return sampling_pb2.SamplingOptions(
        sampler=sampling_pb2.SAMPLER_UNSPECIFIED if sampling.sampler is None else SAMPLERS[sampling.sampler],
        steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        eta=sampling.eta,
    )


def format_number(file_format: FileFormat) -> gateway_pb2.ImageFormat.ValueType:
    """The number of ``file_format``."""
    if file_format not in FORMATS:
        raise InvalidRequest.of("format", f"must be one of {', '.join(FORMATS)}; got {file_format!r}")
    return FORMATS[file_format]


def fit_number(fit: Fit) -> gateway_pb2.Fit.ValueType:
    """The number of ``fit``."""
    if fit not in FITS:
        raise InvalidRequest.of("fit", f"must be one of {', '.join(FITS)}; got {fit!r}")
    return FITS[fit]


def source_message(field: str, picture: Picture | None) -> image_pb2.Image:
    """The source picture of a request, which a recipe lacks."""
    if picture is None:
        raise InvalidRequest.of(field, "must be set: a recipe leaves its source picture out, put it back")
    return image_message(field, picture)


def image_message(field: str, picture: Picture) -> image_pb2.Image:
    """``picture`` as a file: a Pillow image becomes a PNG, a path is read, bytes are sent as they are."""
    if isinstance(picture, bytes):
        return image_pb2.Image(data=picture)
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        picture.convert("RGBA" if picture.has_transparency_data else "RGB").save(file, "PNG")
        return image_pb2.Image(data=file.getvalue(), media_type="image/png")
    return image_pb2.Image(data=read_file(field, picture))


def read_file(field: str, path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file of at most 10 MiB, which is checked before reading."""
    try:
        size = Path(path).stat().st_size
        if size > MAX_FILE_BYTES:
            raise InvalidRequest.of(field, f"must be at most {MAX_FILE_BYTES} bytes; {path} has {size}")
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest.of(field, f"cannot read {path}: {error.strerror}") from error
