"""What a request asks of each stage, known before the first is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.requests.plan import EditPlan, GeneratePlan, InterpolatePlan, Plan, TextDiffPlan, VaryPlan
from unclip.enum_names import StageName
from unclip.options import SamplingSettings, ServiceName

# In the order of a picture's way. The encoder's one step is nothing beside the others' trajectories.
SAMPLING_STAGES: Mapping[StageName, ServiceName] = {
    "prior": "prior",
    "invert": "decoder",
    "decoder": "decoder",
    "upsampler": "upsampler",
}


@dataclass(frozen=True)
class StageLoad:
    """calls: of the stage, at once or not. rows: that each takes of a pass, guidance counted. steps: of each."""

    calls: int
    rows: int
    steps: int

    @property
    def row_steps(self) -> int:
        """Of all its calls."""
        return self.calls * self.rows * self.steps


Workload = Mapping[StageName, StageLoad]


def workload_of(plan: Plan) -> Workload:
    """The trajectories that ``plan`` needs, in order."""
    match plan:
        case GeneratePlan():
            return _generated(plan)
        case EditPlan():
            return _generated(plan.generation, plan.resampling)
        case VaryPlan():
            source_count, picture_count = 1 if plan.start == "inverted" else 0, len(plan.seeds)
        case TextDiffPlan():
            source_count, picture_count = 1, len(plan.thetas)
        case InterpolatePlan():
            source_count, picture_count = len(plan.sources) if plan.start == "inverted" else 0, len(plan.ts)
    stages: dict[StageName, StageLoad] = {}
    if isinstance(plan, InterpolatePlan) and plan.to_image is None:
        stages["prior"] = _load(plan.prior, rows=plan.candidates)
    if source_count:
        stages["invert"] = StageLoad(source_count, 1, plan.decoder.steps * (2 if plan.report_psnr else 1))
    stages["decoder"] = _load(plan.decoder, picture_count)
    stages["upsampler"] = _load(plan.output.upsampler, picture_count)
    return stages


def _generated(plan: GeneratePlan, resampling: int = 1) -> Workload:
    picture_count, stages = len(plan.seeds), dict[StageName, StageLoad]()
    if plan.embedding is None:
        stages["prior"] = _load(plan.prior, picture_count, plan.candidates)
    stages["decoder"] = _load(plan.decoder, picture_count, resampling=resampling)
    stages["upsampler"] = _load(plan.output.upsampler, picture_count, resampling=resampling)
    return stages


def _load(sampling: SamplingSettings, calls: int = 1, rows: int = 1, resampling: int = 1) -> StageLoad:
    guided = 1 if sampling.guidance_scale == 1.0 else 2
    return StageLoad(calls, rows * guided, (sampling.steps - 1) * resampling + 1)
