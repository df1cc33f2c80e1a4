"""What all stubs share: they remember what they were asked, and misbehave as their `Faults` say."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import grpc
from google.protobuf.message import Message

from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.engine import feasibility
from unclip.engine.observer import EngineUsage, usage_listener
from unclip.errors import DeadlineExceeded, Overloaded, PreconditionFailed, Unavailable, brief
from unclip.options import ServiceName
from unclip.serving.clients import client_of
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.model_info import identity
from unclip.serving.request_id import part_of
from unclip.serving.server import Service
from unclip.testing.faults import Faults
from unclip.testing.model import StubModel

POLL_S = 0.005  # how often a waiting call looks whether its turn has come

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True)
class Asked:
    """One call a stub got: the request, and the metadata that came with it."""

    request: Message
    metadata: Mapping[str, str | bytes]


class Stub:
    """A stage without a model. Serve it through `service`; answers follow from the requests alone.

    Attributes:
        faults: how it misbehaves.
        asked: every call but GetModelInfo, oldest first, also those refused; malformed bytes never get here.
        running: calls being worked on, those that wait for their turn included.
        admitted: their work, what runs before what waits, the earliest deadline first.
    """

    stage: ClassVar[ServiceName]
    capabilities: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        model: StubModel | None = None,
        faults: Faults | None = None,
        *,
        max_deadline: float = 300.0,
        remember: bool = True,
    ) -> None:
        """``max_deadline``: seconds a call may take, whatever its caller allows. ``remember``: whether to fill
        ``asked``, which grows with every call."""
        self.model = model or StubModel()
        self.faults = faults or Faults.none(self.stage)
        self.asked: list[Asked] = []
        self.running = 0
        self.spec = self.model.spec(self.stage)
        self._identity = identity()
        self.decoding = Decoding(self.stage)
        self._deadlines = Deadlines(max_deadline)
        self._remember = remember
        self.admitted: list[Work] = []

    @property
    def service(self) -> Service:
        """The stub as a service of a server."""
        raise NotImplementedError

    @property
    def info(self) -> model_info_pb2.ModelInfo:
        """What it says of its model."""
        able = [capability for capability in self.capabilities if capability not in self.faults.lacks]
        info = self.model.info(self.stage, able, self.faults.room)
        replica, started = self._identity
        info.replica, info.started.seconds = replica, started.seconds
        return info

    def requests(self, kind: type[Request]) -> list[Request]:
        """The requests of one type it was sent, oldest first."""
        return [asked.request for asked in self.asked if isinstance(asked.request, kind)]

    def reset(self) -> None:
        """Forgets what it was asked, and behaves again."""
        self.faults = Faults.none(self.stage)
        self.asked.clear()

    @contextmanager
    def work(self, request: Message, context: Context, capability: str, samples: int = 1) -> Iterator[Work]:
        """Room to answer one call, which takes the places of ``samples``, unless the knobs say otherwise.

        Raises:
            UnclipError: as the knobs say.
        """
        if self._remember:
            self.asked.append(Asked(request, dict(context.invocation_metadata() or ())))
        faults = self.faults
        if faults.refuse is not None:
            raise faults.refuse
        if faults.fail > 0:
            faults.fail -= 1
            raise faults.failure or Unavailable(self.stage, f"the {self.stage} fails as ordered")
        if capability in faults.lacks:
            raise PreconditionFailed(capability, f"{self.model.name} cannot do {capability}")
        taken, limit = sum(work.samples for work in self.admitted), faults.room.places
        if taken and taken + samples > limit:
            raise Overloaded(f"{self.stage}: {taken} places are taken, limit {limit}", faults.retry_after)
        client, share = client_of(context), limit // 2
        mine = sum(work.samples for work in self.admitted if work.client == client)
        if faults.fair_shares and mine and mine + samples > share:
            message = f"{self.stage}: {mine} places are taken by this client, limit {share}"
            raise Overloaded(message, faults.retry_after, "CLIENT_SHARE")
        work = Work(self, samples, client, self._deadlines.of(context), part_of(context))
        self.admitted.append(work)
        self.admitted.sort(key=lambda work: (not work.runs, work.deadline))
        self.running += 1
        try:
            yield work
        finally:
            self.admitted.remove(work)
            self.running -= 1

    def places_of(self, pixels: int) -> int:
        """What a picture takes of the room there is; 0 pixels: one of the usual size."""
        return math.ceil(self.spec.relative_size(pixels))

    def load(self) -> tuple[int, int]:
        """Samples that run and that wait."""
        running = sum(work.samples for work in self.admitted if work.runs)
        return running, sum(work.samples for work in self.admitted) - running

    def place_of(self, work: Work) -> int:
        """How many samples ahead of ``work`` have to start before it may; 0 when it may run."""
        before = self.admitted[: self.admitted.index(work)]
        free = self.faults.capacity - sum(other.samples for other in before if other.runs)
        waiting = sum(other.samples for other in before if not other.runs)
        # What could never fit starts when nothing else runs, as if it came one sample after the other.
        fits = work.samples <= free or not any(other.runs for other in before)
        return 0 if fits and not waiting else waiting + 1


class Work:
    """One call that was let in. cut: its stream has to end as if it were complete."""

    def __init__(self, stub: Stub, samples: int, client: str, deadline: float, part_of: str) -> None:
        self.samples = samples
        self.client = client
        self.runs = False
        self.began = 0.0
        self.cut = False
        self.left = 0  # steps
        self.deadline = deadline
        self._stub, self._request = stub, part_of or object()

    async def take_steps(self, steps: int, stage: sampling_pb2.Stage.ValueType) -> AsyncIterator[sampling_pb2.Progress]:
        """Waits for its turn, then takes ``steps`` steps, yielding each.

        Raises:
            DeadlineExceeded: no time is left, or too little for all steps.
            Exception: as the knobs say.
        """
        self.left = steps
        self._refuse_if_late()
        listener, queued, taken = usage_listener.get(), time.monotonic(), 0
        try:
            async for progress in self._steps(steps, stage):
                taken, self.left = progress.step, steps - progress.step
                yield progress
        finally:
            if listener is not None:
                seconds, ended = taken * self._stub.faults.step_seconds, time.monotonic()
                device = seconds * self.samples / self._stub.faults.capacity
                listener(
                    EngineUsage(queued, self.began, ended, taken, self.samples, float(self.samples), device, seconds)
                )

    @property
    def estimate(self) -> feasibility.Work:
        """What its steps to come take."""
        seconds, faults = self.left * self._stub.faults.step_seconds, self._stub.faults
        client = self.client if faults.fair_shares else ""
        device = self.samples * seconds / faults.capacity
        return feasibility.Work(device, self.deadline, seconds, client=client, request=self._request)

    def _refuse_if_late(self) -> None:
        now, mine, stage = time.monotonic(), self.estimate, self._stub.stage
        steps, left = f"{stage}: {self.left} steps take about", brief(max(0.0, self.deadline - now))
        if mine.least > self.deadline - now:
            raise DeadlineExceeded(f"{steps} {brief(mine.least)}, {left} are left")
        others = [work.estimate for work in self._stub.admitted if work is not self]
        if found := feasibility.refusal(mine, others, now):
            message = f"{steps} {brief(found.ahead)} with {found.before}, {left} are left"
            raise Overloaded(message, self._stub.faults.retry_after, found.reason)

    async def _steps(self, steps: int, stage: sampling_pb2.Stage.ValueType) -> AsyncIterator[sampling_pb2.Progress]:
        reported = 0
        while place := self._stub.place_of(self):
            if place != reported:
                yield sampling_pb2.Progress(stage=stage, step=0, of=steps, queue_position=place)
            reported = place
            await self._spend(POLL_S)
        self.runs, self.began = True, time.monotonic()
        while self._stub.faults.hang:
            await self._spend(POLL_S)
        faults = self._stub.faults
        breaks = faults.break_streams > 0
        faults.break_streams -= breaks
        for step in range(1, (min(faults.break_after, steps) if breaks else steps) + 1):
            await self._spend(self._stub.faults.step_seconds)
            yield sampling_pb2.Progress(stage=stage, step=step, of=steps)
        if breaks and not faults.break_quietly:
            raise faults.breakage or Unavailable(self._stub.stage, f"the {self._stub.stage} broke off as ordered")
        self.cut = breaks

    async def run_single_step(self) -> None:
        """A trajectory of one step that is not reported."""
        async for _ in self.take_steps(1, sampling_pb2.STAGE_UNSPECIFIED):
            pass

    async def _spend(self, seconds: float) -> None:
        left = self.deadline - time.monotonic()
        await asyncio.sleep(max(0.0, min(seconds, left)))
        if seconds > left:
            raise DeadlineExceeded(f"{self._stub.stage}: the deadline passed")
