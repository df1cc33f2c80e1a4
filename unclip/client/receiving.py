"""From messages to the client's values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.client.sending import FITS, FORMATS
from unclip.client.values import (
    Edit,
    Embeddings,
    Event,
    FileFormat,
    Fit,
    Generate,
    GeneratedImage,
    ImageFile,
    Interpolate,
    ModelInfo,
    Preview,
    Progress,
    ReplicaCount,
    Request,
    Sampling,
    StageInfo,
    StageName,
    TextDiff,
    Vary,
)
from unclip.wire.embeddings import Embedding
from unclip.wire.sampling import NAMES as SAMPLERS

STAGES: dict[int, StageName] = {
    sampling_pb2.STAGE_ENCODER: "encoder",
    sampling_pb2.STAGE_PRIOR: "prior",
    sampling_pb2.STAGE_INVERT: "invert",
    sampling_pb2.STAGE_DECODER: "decoder",
    sampling_pb2.STAGE_UPSAMPLER: "upsampler",
}
FORMAT_NAMES: dict[int, FileFormat] = {number: name for name, number in FORMATS.items()}
FIT_NAMES: dict[int, Fit] = {number: name for name, number in FITS.items()}


def event_of(message: gateway_pb2.StreamResponse) -> Event | None:
    """What ``message`` tells; None for an event, or a stage, younger than this client."""
    match message.WhichOneof("event"):
        case "progress" if message.progress.stage in STAGES:
            progress = message.progress
            return Progress(
                STAGES[progress.stage], progress.step, progress.of, progress.image_index, progress.queue_position
            )
        case "preview":
            file = image_file(message.preview.image)
            return Preview(file.data, file.media_type, file.width, file.height, message.preview.image_index)
        case "image":
            return generated_image(message.image)
    return None


def generated_images(messages: Iterable[gateway_pb2.GeneratedImage]) -> list[GeneratedImage]:
    """The pictures of a response."""
    return [generated_image(message) for message in messages]


def generated_image(message: gateway_pb2.GeneratedImage) -> GeneratedImage:
    """One finished picture."""
    file = image_file(message.image)
    return GeneratedImage(
        file.data,
        file.media_type,
        file.width,
        file.height,
        image_index=message.image_index,
        seed=message.seed,
        model_version=message.model_version,
        recipe=recipe_of(message.recipe),
        source_digests=tuple(message.source_digests),
        score=message.score if message.HasField("score") else None,
        inversion_psnr=message.inversion_psnr if message.HasField("inversion_psnr") else None,
        stage_versions=dict(message.stage_versions),
    )


def image_file(message: image_pb2.Image) -> ImageFile:
    """An encoded picture."""
    return ImageFile(message.data, message.media_type, message.width, message.height)


def recipe_of(message: gateway_pb2.StreamRequest) -> Request:
    """The request in a recipe, its source picture left out."""
    match message.WhichOneof("request"):
        case "vary":
            vary = message.vary
            start: Literal["inverted", "random"] = "random" if vary.start == gateway_pb2.START_RANDOM else "inverted"
            return Vary(
                image=None,
                seed=vary.seed if vary.HasField("seed") else None,
                image_count=vary.image_count if vary.HasField("image_count") else None,
                eta=vary.eta if vary.HasField("eta") else None,
                start=start,
                decoder=sampling_of(vary.decoder),
                upsampler=sampling_of(vary.upsampler),
                format=FORMAT_NAMES.get(vary.format, "png"),
                fit=FIT_NAMES.get(vary.fit, "crop"),
                report_psnr=vary.report_psnr,
            )
        case "text_diff":
            diff = message.text_diff
            return TextDiff(
                image=None,
                before=diff.before,
                after=diff.after,
                thetas=tuple(diff.thetas),
                seed=diff.seed if diff.HasField("seed") else None,
                decoder=sampling_of(diff.decoder),
                upsampler=sampling_of(diff.upsampler),
                format=FORMAT_NAMES.get(diff.format, "png"),
                fit=FIT_NAMES.get(diff.fit, "crop"),
                report_psnr=diff.report_psnr,
            )
        case "interpolate":
            between = message.interpolate
            return Interpolate(
                image=None,
                to_caption=between.to_caption,
                ts=tuple(between.ts),
                seed=between.seed if between.HasField("seed") else None,
                start="random" if between.start == gateway_pb2.START_RANDOM else "inverted",
                prior=sampling_of(between.prior),
                decoder=sampling_of(between.decoder),
                upsampler=sampling_of(between.upsampler),
                format=FORMAT_NAMES.get(between.format, "png"),
                fit=FIT_NAMES.get(between.fit, "crop"),
                report_psnr=between.report_psnr,
            )
        case "edit":
            edit = message.edit
            return Edit(
                image=None,
                caption=edit.caption,
                negative_caption=edit.negative_caption,
                seed=edit.seed if edit.HasField("seed") else None,
                image_count=edit.image_count if edit.HasField("image_count") else None,
                prior_candidates=edit.prior_candidates if edit.HasField("prior_candidates") else None,
                prior=sampling_of(edit.prior),
                decoder=sampling_of(edit.decoder),
                upsampler=sampling_of(edit.upsampler),
                format=FORMAT_NAMES.get(edit.format, "png"),
                resampling=edit.resampling if edit.HasField("resampling") else None,
                fit=FIT_NAMES.get(edit.fit, "crop"),
                candidates=edit.candidates if edit.HasField("candidates") else None,
            )
    generate = message.generate
    return Generate(
        caption=generate.caption,
        seed=generate.seed if generate.HasField("seed") else None,
        image_count=generate.image_count if generate.HasField("image_count") else None,
        prior_candidates=generate.prior_candidates if generate.HasField("prior_candidates") else None,
        prior=sampling_of(generate.prior),
        decoder=sampling_of(generate.decoder),
        upsampler=sampling_of(generate.upsampler),
        format=FORMAT_NAMES.get(generate.format, "png"),
        negative_caption=generate.negative_caption,
        candidates=generate.candidates if generate.HasField("candidates") else None,
        embedding=Embedding.from_proto(generate.embedding, "embedding") if generate.HasField("embedding") else None,
    )


def sampling_of(options: sampling_pb2.SamplingOptions) -> Sampling:
    """Sampling options, None where they are silent."""
    return Sampling(
        sampler=SAMPLERS.get(options.sampler),
        steps=options.steps if options.HasField("steps") else None,
        guidance_scale=options.guidance_scale if options.HasField("guidance_scale") else None,
        eta=options.eta if options.HasField("eta") else None,
    )


def embeddings_of(message: gateway_pb2.EmbedResponse) -> Embeddings:
    """The embeddings of a response."""
    return Embeddings(
        captions=tuple(Embedding.from_proto(embedding, "captions") for embedding in message.captions),
        images=tuple(Embedding.from_proto(embedding, "images") for embedding in message.images),
    )


def model_info_of(answer: gateway_pb2.GetModelInfoResponse) -> ModelInfo:
    """What the stack has loaded."""
    message = answer.model
    return ModelInfo(
        name=message.name,
        version=message.version,
        license=message.license,
        clip_space=message.clip_space,
        device=message.device,
        capabilities=tuple(message.capabilities),
        stages=tuple(
            StageInfo(
                STAGES[stage.stage], sampling_of(stage.defaults), stage.image_size, stage.parameters, stage.version
            )
            for stage in message.stages
            if stage.stage in STAGES
        ),
        caption_template=message.caption_template,
        embedding_dim=message.embedding_dim,
        replicas=tuple(ReplicaCount(one.stage, one.version, one.count, one.served) for one in answer.replicas),
    )
