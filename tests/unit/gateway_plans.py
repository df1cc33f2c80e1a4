"""Plans of public requests on a small stack, and what is wrong with requests that lead to none."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from gateway.requests.plan import GeneratePlan, InterpolatePlan, TextDiffPlan, VaryPlan
from gateway.requests.planning import plan_of
from gateway.stack import StackInfo
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, model_info_pb2
from unclip.errors import InvalidRequest
from unclip.options import SamplingSettings

INFO = StackInfo(
    model=model_info_pb2.ModelInfo(name="tiny", version="abc", capabilities=["generate", "vary", "text_diff"]),
    prior=SamplingSettings("ddpm", 25, 4.0),
    decoder=SamplingSettings("ddpm", 20, 8.0),
    upsampler=SamplingSettings("ddpm", 7, 1.0),
)


def png(mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> image_pb2.Image:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return image_pb2.Image(data=buffer.getvalue())


def generate_plan(**fields: object) -> GeneratePlan:
    request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(**fields))  # type: ignore[arg-type]
    plan = plan_of(request, INFO, nested=False)
    assert isinstance(plan, GeneratePlan)
    return plan


def vary_plan(**fields: object) -> VaryPlan:
    request = gateway_pb2.StreamRequest(vary=gateway_pb2.VaryRequest(**fields))  # type: ignore[arg-type]
    plan = plan_of(request, INFO, nested=False)
    assert isinstance(plan, VaryPlan)
    return plan


def diff_plan(**fields: object) -> TextDiffPlan:
    request = gateway_pb2.StreamRequest(text_diff=gateway_pb2.TextDiffRequest(**fields))  # type: ignore[arg-type]
    plan = plan_of(request, INFO, nested=False)
    assert isinstance(plan, TextDiffPlan)
    return plan


def interpolate_plan(**fields: object) -> InterpolatePlan:
    request = gateway_pb2.StreamRequest(interpolate=gateway_pb2.InterpolateRequest(**fields))  # type: ignore[arg-type]
    plan = plan_of(request, INFO, nested=False)
    assert isinstance(plan, InterpolatePlan)
    return plan


def broken(request: gateway_pb2.StreamRequest, nested: bool = False) -> dict[str, str]:
    """Field path to description of every violation of ``request``."""
    with pytest.raises(InvalidRequest) as refused:
        plan_of(request, INFO, nested)
    return {violation.field: violation.description for violation in refused.value.violations}
