"""What the stages behind the gateway have loaded, seen as one model."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.calls import SERVICES, Call, ServiceName
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import PreconditionFailed, Unavailable, UnclipError
from unclip.options import SamplingSettings
from unclip.wire.sampling import settings_from_proto

LOG = logging.getLogger(__name__)

# A stage that was replaced while nobody called is noticed after this long.
FRESH_S = 30.0
# How long one question about a stage's model may take: a stage that hangs must not hold up calls that need others.
ASK_S = 3.0
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
    """Knows the stages' models, asks again when the answers are old, and outlives the restart of any stage."""

    informant: Informant
    _infos: dict[ServiceName, model_info_pb2.ModelInfo] = field(default_factory=dict)
    _asked: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

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
        """Has the stages asked again at the next call: one of them failed, and may come back as another."""
        self._asked = float("-inf")

    async def info(self, call: Call) -> StackInfo:
        """The stack as last told.

        Raises:
            Unavailable: a stage has not told of its model yet.
            PreconditionFailed: the stages do not belong together.
        """
        async with self._asking:
            if time.monotonic() - self._asked > FRESH_S:
                await self._ask(call)
        return merge(self._infos)

    async def _ask(self, call: Call) -> None:
        """Asks every stage at once. One that does not answer keeps its last answer: the call may not need it."""
        brief = Call(min(call.deadline, time.monotonic() + ASK_S), call.metadata)
        answers = await asyncio.gather(
            *(self.informant.model_info(service, brief) for service in SERVICES), return_exceptions=True
        )
        for service, answer in zip(SERVICES, answers, strict=True):
            if isinstance(answer, model_info_pb2.ModelInfo):
                self._infos[service] = answer
            elif not isinstance(answer, UnclipError):
                raise answer
            elif service not in self._infos:
                raise answer if isinstance(answer, Unavailable) else Unavailable(service, str(answer))
        self._asked = time.monotonic()
