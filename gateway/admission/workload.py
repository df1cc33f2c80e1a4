"""What a request asks of each stage, known before the first is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gateway.requests.plan import EditPlan, GeneratePlan, InterpolatePlan, Plan, TextDiffPlan, VaryPlan
from unclip.enum_names import StageName
from unclip.options import SamplingSettings, ServiceName, inversion_passes

# In the order of a picture's way. The encoder's one step is nothing beside the others' trajectories.
SAMPLING_STAGES: Mapping[StageName, ServiceName] = {
    "prior": "prior",
    "invert": "decoder",
    "decoder": "decoder",
    "upsampler": "upsampler",
}


@dataclass(frozen=True)
class StageLoad:
    """calls: of the stage, at once or not. rows: that each takes of a pass, guidance counted. steps: of each. area:
    what a row is worth, by its pixels: 1 at the stack's own size. fast: a student takes the steps, to which they are
    something else than to its teacher. samples: of each call. max_batch: of them in a pass of a replica at most."""

    calls: int
    rows: int
    steps: int
    area: float = 1.0
    fast: bool = False
    samples: int = 1
    max_batch: float = math.inf

    @property
    def usual_rows(self) -> float:
        """Rows of the stack's own size that a pass of a call is worth."""
        return self.rows * self.area

    @property
    def places(self) -> int:
        """Of the stage, that each sample of a call takes: a larger picture several."""
        return max(1, math.ceil(self.area))

    @property
    def pass_rows(self) -> float:
        """Such rows that a pass of a replica has at most: of larger pictures not more, but one at least; of smaller
        ones fewer."""
        return self.rows / self.samples * max(self.max_batch * min(1.0, self.area), self.area)

    @property
    def call_row_steps(self) -> float:
        """Steps of such rows that one call takes."""
        return self.usual_rows * self.steps

    @property
    def row_steps(self) -> float:
        """Of all its calls."""
        return self.calls * self.call_row_steps


Workload = Mapping[StageName, StageLoad]


def workload_of(plan: Plan, max_batch: Callable[[ServiceName], float] = lambda service: math.inf) -> Workload:
    """The trajectories that ``plan`` needs, in order. max_batch: samples that a replica has in a pass at most."""
    loads = _loads(plan).items()
    return {stage: replace(load, max_batch=max_batch(SAMPLING_STAGES[stage])) for stage, load in loads}


def _loads(plan: Plan) -> Workload:
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
    stages, area = dict[StageName, StageLoad](), plan.output.area
    if isinstance(plan, InterpolatePlan) and plan.to_image is None:
        stages["prior"] = _load(plan.prior, samples=plan.candidates)
    if source_count:
        passes = inversion_passes(plan.decoder.steps, plan.report_psnr)
        stages["invert"] = StageLoad(source_count, 1, passes, area)
    stages["decoder"] = _load(plan.decoder, picture_count, area=area)
    stages["upsampler"] = _load(plan.output.upsampler, picture_count, area=area)
    return stages


def _generated(plan: GeneratePlan, resampling: int = 1) -> Workload:
    picture_count, area, stages = len(plan.seeds), plan.output.area, dict[StageName, StageLoad]()
    if plan.prior_calls:
        stages["prior"] = _load(plan.prior, picture_count * plan.prior_calls, plan.candidates)
    decoder = _load(plan.decoder, picture_count, resampling=resampling, area=area)
    # A student takes one pass a step: its guidance is an input.
    stages["decoder"] = replace(decoder, rows=1, fast=True) if plan.fast else decoder
    stages["upsampler"] = _load(plan.output.upsampler, picture_count, resampling=resampling, area=area)
    return stages


def _load(
    sampling: SamplingSettings, calls: int = 1, samples: int = 1, resampling: int = 1, area: float = 1.0
) -> StageLoad:
    guided = 1 if sampling.guidance_scale == 1.0 else 2
    return StageLoad(calls, samples * guided, (sampling.steps - 1) * resampling + 1, area, samples=samples)
