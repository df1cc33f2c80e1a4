"""What the stages behind the gateway have loaded, seen as one model."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.calls import MARGIN_S, SERVICES, Call, ServiceName
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import DeadlineExceeded, PreconditionFailed, Unavailable, UnclipError
from unclip.options import SamplingSettings
from unclip.wire.sampling import settings_from_proto

LOG = logging.getLogger(__name__)

# A stage that was replaced while nobody called is noticed after this long.
FRESH_S = 30.0
# How long one question about a stage's model may take: a stage that hangs must not hold up calls that need others.
ASK_S = 3.0
# How often failures, or a stage that does not answer, may have all asked again.
AGAIN_S = 1.0
# How often a stage that is not there yet is asked again at start.
POLL_S = 0.25

# What the stages must be able to do for each capability of the gateway. "decoder:edit": that service, not any.
NEEDS: dict[str, frozenset[str]] = {
    "generate": frozenset({"encode_text", "sample", "decode", "upsample"}),
    "vary": frozenset({"encode_text", "encode_image", "invert", "decode", "upsample"}),
    "text_diff": frozenset({"encode_text", "encode_image", "invert", "decode", "upsample"}),
    "interpolate": frozenset({"encode_text", "encode_image", "invert", "decode", "upsample"}),
    "edit": frozenset({"encode_text", "sample", "decode", "upsample", "decoder:edit", "upsampler:edit"}),
    "embed": frozenset({"encode_text", "encode_image"}),
}


class Informant(Protocol):
    """Whoever can ask the stages about themselves."""

    async def model_info(self, service: ServiceName, call: Call) -> model_info_pb2.ModelInfo:
        """What ``service`` has loaded. Raises UnclipError."""
        ...


@dataclass(frozen=True)
class StackInfo:
    """All stages as one model: the public description, and the defaults of the stages that sample."""

    model: model_info_pb2.ModelInfo
    prior: SamplingSettings
    decoder: SamplingSettings
    upsampler: SamplingSettings

    def side(self, stage: sampling_pb2.Stage.ValueType) -> int:
        """Side in pixels of the pictures that ``stage`` makes; 0 where it makes none or has not told of itself."""
        return next((told.image_size for told in self.model.stages if told.stage == stage), 0)

    def require(self, capability: str) -> None:
        """Raises PreconditionFailed when the loaded checkpoint lacks ``capability``, such as "vary"."""
        if capability not in self.model.capabilities:
            able = ", ".join(self.model.capabilities) or "nothing"
            raise PreconditionFailed(capability, f"{self.model.name} cannot do {capability}; it can do {able}")


def merge(infos: Mapping[ServiceName, model_info_pb2.ModelInfo]) -> StackInfo:
    """The stack that ``infos``, one per service, make together.

    Raises:
        PreconditionFailed: they speak different CLIP spaces.
    """
    spaces = {service: info.clip_space for service, info in infos.items() if info.clip_space}
    if len(set(spaces.values())) > 1:
        told = ", ".join(f"{service} {space[:12]}" for service, space in spaces.items())
        raise PreconditionFailed("clip_space", f"the stages speak different CLIP spaces: {told}")
    able = {name for s, info in infos.items() for c in info.capabilities for name in (c, f"{s}:{c}")}
    stages = {stage.stage: stage for info in infos.values() for stage in info.stages}
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
    )

    def defaults(number: sampling_pb2.Stage.ValueType) -> SamplingSettings:
        return settings_from_proto(stages[number].defaults) if number in stages else SamplingSettings()

    return StackInfo(
        model,
        prior=defaults(sampling_pb2.STAGE_PRIOR),
        decoder=defaults(sampling_pb2.STAGE_DECODER),
        upsampler=defaults(sampling_pb2.STAGE_UPSAMPLER),
    )


def distinct(values: Iterable[str]) -> list[str]:
    """The values that are not empty, each once, in order."""
    return [value for value in dict.fromkeys(values) if value]


def version_of(versions: Sequence[str]) -> str:
    """Version of a stack whose stages have ``versions``: theirs when they agree, else a digest over all, in hex."""
    return versions[0] if len(set(versions)) == 1 else hashlib.sha256("\n".join(versions).encode()).hexdigest()


@dataclass
class Stack:
    """Knows the stages' models, asks again when the answers are old, and outlives the restart of any stage.

    One question to the stages is under way at a time, with patience of its own, and every call that needs the answer
    waits for that one: neither how many callers there are nor how hasty they are changes what is asked, or believed.
    """

    informant: Informant
    _infos: dict[ServiceName, model_info_pb2.ModelInfo] = field(default_factory=dict)
    _due: float = float("-inf")  # when the stages are to be asked again
    _urgent: bool = False  # whether a failure is why
    _urged: float = float("-inf")  # when a failure last had them asked
    _silent: bool = False  # whether one did not answer the last question
    _question: asyncio.Task[None] | None = None

    async def wait(self, patience: float) -> None:
        """Waits until every stage has told of its model, at most ``patience`` seconds, then goes on without.

        Raises:
            PreconditionFailed: the stages are there but do not belong together.
        """
        end = time.monotonic() + patience
        while True:
            try:
                await self.info(Call(deadline=time.monotonic() + ASK_S + 1))
                return
            except Unavailable as error:
                if time.monotonic() >= end:
                    LOG.warning("starting although a stage is missing: %s", error)
                    return
            await asyncio.sleep(POLL_S)

    def forget(self) -> None:
        """Has the stages asked again at the next call: one of them failed, and may come back as another.

        At once, unless that was the reason for asking less than ``AGAIN_S`` ago.
        """
        self._due, self._urgent = min(self._due, max(time.monotonic(), self._urged + AGAIN_S)), True

    async def info(self, call: Call) -> StackInfo:
        """The stack as last told.

        Raises:
            DeadlineExceeded: ``call`` has no time to wait for the first answers.
            Unavailable: a stage has not told of its model yet.
            PreconditionFailed: the stages do not belong together.
        """
        if self._question is None and time.monotonic() >= self._due:
            self._question = asyncio.create_task(self._ask())
            self._question.add_done_callback(self._answered)
        # A stage that was silent before would only make everybody wait again for what was told long ago.
        if self._question is not None and not (self._silent and self._complete):
            question = self._question
            await asyncio.wait([question], timeout=max(0.0, call.deadline - time.monotonic() - MARGIN_S))
            if question.done():
                question.result()
            elif not self._complete:
                raise DeadlineExceeded("no time is left to wait for the stages to tell of their models")
        for service in SERVICES:
            if service not in self._infos:
                raise Unavailable(service, f"the {service} has not told of its model yet")
        try:
            return merge(self._infos)
        except PreconditionFailed:
            self.forget()  # one of them may be about to be replaced
            raise

    @property
    def _complete(self) -> bool:
        return len(self._infos) == len(SERVICES)

    def _answered(self, question: asyncio.Task[None]) -> None:
        self._question = None
        if not question.cancelled():
            question.exception()  # told to those who waited, if somebody did

    async def _ask(self) -> None:
        """Asks every stage at once. One that does not answer keeps its last answer: the call may not need it."""
        began = time.monotonic()
        if self._urgent:
            self._urged, self._urgent = began, False
        # No caller's deadline, name or trace: the answer is everybody's.
        question = Call(began + ASK_S + MARGIN_S)
        self._due = began + (AGAIN_S if self._complete else 0)  # unless all answer
        answers = await asyncio.gather(
            *(self.informant.model_info(service, question) for service in SERVICES), return_exceptions=True
        )
        silent = []
        for service, answer in zip(SERVICES, answers, strict=True):
            if isinstance(answer, model_info_pb2.ModelInfo):
                self._infos[service] = answer
            elif not isinstance(answer, UnclipError):
                raise answer
            else:
                silent.append(service)
        self._silent = bool(silent)
        if not silent and not self._urgent:
            self._due = began + FRESH_S
