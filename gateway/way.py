"""What a request asks of each stage, known before the first is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.calls import ServiceName
from gateway.feed import StageName
from gateway.plan import EditPlan, GeneratePlan, InterpolatePlan, Plan, TextDiffPlan, VaryPlan
from unclip.options import SamplingSettings

# In the order of a picture's way. The encoder's one step is nothing beside the others' walks.
WALKS: Mapping[StageName, ServiceName] = {
    "prior": "prior",
    "invert": "decoder",
    "decoder": "decoder",
    "upsampler": "upsampler",
}


@dataclass(frozen=True)
class Leg:
    """calls: of the stage, at once or not. rows: that each takes of a pass, guidance counted. steps: of each."""

    calls: int
    rows: int
    steps: int

    @property
    def row_steps(self) -> int:
        """Of all its calls."""
        return self.calls * self.rows * self.steps


Way = Mapping[StageName, Leg]


def way_of(plan: Plan) -> Way:
    """The walks that ``plan`` needs, in order."""
    match plan:
        case GeneratePlan():
            return _generated(plan)
        case EditPlan():
            return _generated(plan.wanted, plan.resampling)
        case VaryPlan():
            sources, pictures = 1 if plan.start == "inverted" else 0, len(plan.seeds)
        case TextDiffPlan():
            sources, pictures = 1, len(plan.thetas)
        case InterpolatePlan():
            sources, pictures = len(plan.sources) if plan.start == "inverted" else 0, len(plan.ts)
    way: dict[StageName, Leg] = {}
    if isinstance(plan, InterpolatePlan) and plan.to_image is None:
        way["prior"] = _leg(plan.prior, rows=plan.candidates)
    if sources:
        way["invert"] = Leg(sources, 1, plan.decoder.steps * (2 if plan.report_psnr else 1))
    way["decoder"] = _leg(plan.decoder, pictures)
    way["upsampler"] = _leg(plan.output.upsampler, pictures)
    return way


def _generated(plan: GeneratePlan, resampling: int = 1) -> Way:
    pictures, way = len(plan.seeds), dict[StageName, Leg]()
    if plan.embedding is None:
        way["prior"] = _leg(plan.prior, pictures, plan.candidates)
    way["decoder"] = _leg(plan.decoder, pictures, resampling=resampling)
    way["upsampler"] = _leg(plan.output.upsampler, pictures, resampling=resampling)
    return way


def _leg(settings: SamplingSettings, calls: int = 1, rows: int = 1, resampling: int = 1) -> Leg:
    guided = 1 if settings.guidance_scale == 1.0 else 2
    return Leg(calls, rows * guided, (settings.steps - 1) * resampling + 1)
