"""The recipe of a picture: the request that makes it again, alone, with every default filled in.

What only measures a picture, or chose it among others, is no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.calls import SERVICES, ServiceName
from gateway.fitting import Fit
from gateway.plan import EditPlan, FileFormat, GeneratePlan, InterpolatePlan, Plan, TextDiffPlan, VaryPlan
from gateway.stack import version_of
from unclip.api.gateway.v1 import gateway_pb2
from unclip.wire.recipe_text import RecipeText
from unclip.wire.sampling import settings_to_proto

FORMATS: dict[FileFormat, gateway_pb2.ImageFormat.ValueType] = {
    "png": gateway_pb2.IMAGE_FORMAT_PNG,
    "jpeg": gateway_pb2.IMAGE_FORMAT_JPEG,
    "webp": gateway_pb2.IMAGE_FORMAT_WEBP,
}
FITS: dict[Fit, gateway_pb2.Fit.ValueType] = {
    "crop": gateway_pb2.FIT_CENTER_CROP,
    "letterbox": gateway_pb2.FIT_LETTERBOX,
}


@dataclass(frozen=True)
class Maker:
    """Who made a picture. version: of the whole stack. stages: the version of each stage that had a part in it."""

    version: str
    stages: Mapping[str, str]

    @classmethod
    def of(cls, release: Mapping[ServiceName, str], made_by: Mapping[ServiceName, str]) -> Maker:
        """By what the stages' answers said, ``made_by``; of stages that were not asked, by what is served."""
        versions = {**release, **made_by}
        return cls(version_of([versions[service] for service in SERVICES]), {str(s): v for s, v in made_by.items()})


def inscription(plan: Plan, index: int, maker: Maker) -> RecipeText:
    """What the file of picture ``index`` of ``plan`` says: nothing that differs when it is made again."""
    digests = tuple(source.digest for source in plan.sources)
    return RecipeText(recipe(plan, index), maker.version, digests, maker.stages)


def recipe(plan: Plan, index: int) -> gateway_pb2.StreamRequest:
    """The request for picture ``index`` of ``plan``. Source pictures are left out: put them back before sending it."""
    match plan:
        case GeneratePlan():
            sampled = plan.embedding is None
            return gateway_pb2.StreamRequest(
                generate=gateway_pb2.GenerateRequest(
                    caption=plan.caption,
                    seed=plan.seeds[index],
                    image_count=1,
                    prior_candidates=plan.candidates if sampled else None,
                    prior=settings_to_proto(plan.prior) if sampled else None,
                    embedding=plan.embedding.to_proto() if plan.embedding is not None else None,
                    decoder=settings_to_proto(plan.decoder),
                    upsampler=settings_to_proto(plan.output.upsampler),
                    format=FORMATS[plan.output.format],
                    negative_caption=plan.negative_caption,
                )
            )
        case VaryPlan():
            decoder = settings_to_proto(plan.decoder)
            decoder.ClearField("eta")  # the request's own eta stands for it
            return gateway_pb2.StreamRequest(
                vary=gateway_pb2.VaryRequest(
                    seed=plan.seeds[index],
                    image_count=1,
                    eta=plan.decoder.eta,
                    start=gateway_pb2.START_RANDOM if plan.start == "random" else gateway_pb2.START_INVERTED,
                    decoder=decoder,
                    upsampler=settings_to_proto(plan.output.upsampler),
                    format=FORMATS[plan.output.format],
                    fit=FITS[plan.fit],
                )
            )
        case TextDiffPlan():
            return gateway_pb2.StreamRequest(
                text_diff=gateway_pb2.TextDiffRequest(
                    before=plan.before,
                    after=plan.after,
                    thetas=[plan.thetas[index]],
                    seed=plan.seed,
                    decoder=settings_to_proto(plan.decoder),
                    upsampler=settings_to_proto(plan.output.upsampler),
                    format=FORMATS[plan.output.format],
                    fit=FITS[plan.fit],
                )
            )
        case InterpolatePlan():
            between = gateway_pb2.InterpolateRequest(
                ts=[plan.ts[index]],
                start=gateway_pb2.START_RANDOM if plan.start == "random" else gateway_pb2.START_INVERTED,
                seed=plan.seed,
                decoder=settings_to_proto(plan.decoder),
                upsampler=settings_to_proto(plan.output.upsampler),
                format=FORMATS[plan.output.format],
                fit=FITS[plan.fit],
            )
            if plan.to_image is None:
                between.to_caption = plan.to_caption
                between.prior.CopyFrom(settings_to_proto(plan.prior))
            return gateway_pb2.StreamRequest(interpolate=between)
        case EditPlan():
            wanted = plan.wanted
            return gateway_pb2.StreamRequest(
                edit=gateway_pb2.EditRequest(
                    caption=wanted.caption,
                    negative_caption=wanted.negative_caption,
                    seed=wanted.seeds[index],
                    image_count=1,
                    prior_candidates=wanted.candidates,
                    prior=settings_to_proto(wanted.prior),
                    decoder=settings_to_proto(wanted.decoder),
                    upsampler=settings_to_proto(plan.output.upsampler),
                    format=FORMATS[plan.output.format],
                    resampling=plan.resampling,
                    fit=FITS[plan.fit],
                )
            )
