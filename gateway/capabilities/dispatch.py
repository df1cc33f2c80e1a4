"""Which composition a plan is for, and what the stack must be able to do for it."""

from __future__ import annotations

from gateway.capabilities.compose import Stages
from gateway.capabilities.edit import edit
from gateway.capabilities.generate import generate
from gateway.capabilities.interpolate import interpolate
from gateway.capabilities.text_diff import text_diff
from gateway.capabilities.vary import vary
from gateway.events import EventQueue
from gateway.requests.plan import EditPlan, GeneratePlan, InterpolatePlan, Plan, TextDiffPlan, VaryPlan
from gateway.stack import StackInfo
from unclip.api.type.v1 import sampling_pb2
from unclip.wire.embeddings import TextEncoding

CAPABILITIES: dict[type[Plan], str] = {
    GeneratePlan: "generate",
    VaryPlan: "vary",
    TextDiffPlan: "text_diff",
    InterpolatePlan: "interpolate",
    EditPlan: "edit",
}


def capabilities_of(plan: Plan) -> list[str]:
    """What the stack must be able to do for ``plan``; first what the plan itself is."""
    needed = [CAPABILITIES[type(plan)]]
    generation = plan.generation if isinstance(plan, EditPlan) else plan
    if asks_prior(plan):
        needed.append("generate")
    if isinstance(generation, GeneratePlan) and generation.keep is not None:
        needed.append("embed")  # pictures are ranked by their embeddings
    return needed


def asks_prior(plan: Plan) -> bool:
    """Whether a caption of ``plan`` goes through the prior."""
    match plan:
        case GeneratePlan():
            return plan.prior_calls > 0
        case InterpolatePlan():
            return plan.to_image is None
    return isinstance(plan, EditPlan)


async def compose(plan: Plan, info: StackInfo, stages: Stages, unconditional: TextEncoding, queue: EventQueue) -> None:
    """Runs the composition that ``plan`` is for."""
    match plan:
        case GeneratePlan():
            await generate(plan, stages, unconditional, queue)
        case VaryPlan():
            await vary(plan, stages, unconditional, queue)
        case TextDiffPlan():
            await text_diff(plan, info.model.caption_template, stages, unconditional, queue)
        case InterpolatePlan():
            await interpolate(plan, stages, unconditional, queue)
        case EditPlan():
            await edit(plan, plan.output.painted(info.side(sampling_pb2.STAGE_DECODER)), stages, unconditional, queue)
