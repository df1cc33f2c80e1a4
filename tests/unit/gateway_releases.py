"""Releases in front of replicas and channels that a test has in its hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from gateway.stages.calls import Call
from gateway.stages.circuit_breaker import CircuitBreaker
from gateway.stages.releases import Releases, SharedChannels
from tests.unit.gateway_models import everyone, reported_by
from unclip.api.type.v1 import model_info_pb2
from unclip.errors import DeadlineExceeded, Unavailable
from unclip.options import SERVICES, ServiceName

HOLD_S = 0.2


@dataclass
class ModelInfoSource:
    """Answers for replicas in turn, each after some ``seconds``; a stage without any is down, one in ``silent`` answers
    when told to."""

    replicas: dict[ServiceName, list[model_info_pb2.ModelInfo]] = field(
        default_factory=lambda: {service: [info] for service, info in everyone().items()}
    )
    asked: int = 0
    seconds: float = 0.0
    silent: set[ServiceName] = field(default_factory=set)
    speak: asyncio.Event = field(default_factory=asyncio.Event)
    turns: dict[ServiceName, count[int]] = field(default_factory=lambda: {service: count() for service in SERVICES})

    async def model_info(self, service: ServiceName) -> model_info_pb2.ModelInfo:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if service in self.silent:
            try:
                await asyncio.wait_for(self.speak.wait(), 0.5)
            except TimeoutError:
                raise DeadlineExceeded("silent") from None
        if not self.replicas[service]:
            raise Unavailable(service, "down")
        return self.replicas[service][next(self.turns[service]) % len(self.replicas[service])]

    def put(self, version: str, clip_space: str = "clip", number: int = 1, *services: ServiceName) -> None:
        """More replicas, of ``services`` or all."""
        for service in services or SERVICES:
            self.replicas[service] += [
                reported_by(service, version, clip_space, f"{service}-{version}-{n}", ord(version[-1]))
                for n in range(number)
            ]

    def drop(self, version: str, *services: ServiceName) -> None:
        """All replicas of a version go, of ``services`` or all."""
        for service in services or SERVICES:
            self.replicas[service] = [info for info in self.replicas[service] if info.version != version]


class Line:
    """A channel that is ready unless it is not, and remembers whether it was closed."""

    def __init__(self, service: ServiceName, version: str) -> None:
        self.name = (service, version)
        self.ready = asyncio.Event()
        self.ready.set()
        self.closed = False

    def unary_unary(self, *method: object, **codecs: object) -> None: ...

    unary_stream = unary_unary

    async def channel_ready(self) -> None:
        await self.ready.wait()

    async def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """Releases that are counted, and what they opened."""

    source: ModelInfoSource
    lines: list[Line] = field(default_factory=list)
    ready: bool = True

    def open(self, service: ServiceName, version: str) -> Line:
        line = Line(service, version)
        if not self.ready:
            line.ready.clear()
        self.lines.append(line)
        return line

    def opened(self) -> set[tuple[ServiceName, str]]:
        return {line.name for line in self.lines if not line.closed}

    @asynccontextmanager
    async def releases(self) -> AsyncIterator[Releases]:
        lines = SharedChannels(self.open)  # type: ignore[arg-type]
        releases = Releases(self.source, lines, {s: CircuitBreaker(s) for s in SERVICES}, HOLD_S)
        releases.start()
        try:
            yield releases
        finally:
            await releases.close()


def soon(seconds: float = 10) -> Call:
    return Call(deadline=time.monotonic() + seconds)


async def version_of(releases: Releases, seconds: float = 10) -> str:
    return (await releases.info(soon(seconds))).model.version


async def until_served(releases: Releases, version: str, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while await version_of(releases) != version:
        assert time.monotonic() < end, "it never was served"
        await asyncio.sleep(0.02)
