"""What is served, and by whom: one version of every stage at a time, to which all new requests move as one.

A request is served by one release from its beginning to its end, so that no picture is made by stages of two, nor a
batch half by one. Its channels reach the replicas of its versions only; an answer by another version, which a proxy on
the way might bring, is no answer. When a release's replicas are gone before a request has delivered anything, the
request begins anew with the release that is served by then; the same seed makes what that one makes of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from gateway.admission.control import MARGIN_S
from gateway.stack import StackInfo, merge
from gateway.stages.calls import Call
from gateway.stages.census import ModelInfoSource, census
from gateway.stages.circuit_breaker import CircuitBreaker
from gateway.stages.clients import Clients
from gateway.stages.versions import (
    HOLD_S,
    Census,
    Versions,
    best_set,
    channel_versions_of,
    clip_mismatch,
    lost_stages,
    replica_counts,
    versions_of,
)
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import model_info_pb2
from unclip.errors import DeadlineExceeded, PreconditionFailed, Unavailable
from unclip.options import SERVICES, ServiceName
from unclip.serving.metrics import STAGE_REPLICAS, VERSION_SWITCHES

LOG = logging.getLogger(__name__)

# How often the stages' replicas are counted: while nothing moves, while something does, at most; and at first, until
# two counts agree: connections come one by one.
STEADY_S, MOVING_S, LEAST_S, FIRST_S = 5.0, 1.0, 0.15, 0.05
# How long a call that has lost its replicas waits to hear whether others serve; and how much longer while there are
# replicas of another version: on a busy machine, counting them takes longer than a moment.
TURN_S, LONG_TURN_S = 0.55, 5.0
# How long the channels of another release may take to be there.
READY_S = 5.0
# Counts in a row that must have found a stage without the version that is served.
SURE = 2
SHOWN = 12  # hex digits of a version, where people read it

Open = Callable[[ServiceName, str], grpc.aio.Channel]


class SharedChannels:
    """Channels to the replicas that have one version of a stage, shared by the releases that have it in common."""

    def __init__(self, open_channel: Open) -> None:
        self._open = open_channel
        self._channels: dict[tuple[ServiceName, str], grpc.aio.Channel] = {}
        self._holders = Counter[tuple[ServiceName, str]]()

    def take(self, versions: Versions) -> dict[ServiceName, grpc.aio.Channel]:
        """A channel to each stage; opened unless somebody holds it. To be given back."""
        for key in versions.items():
            if not self._holders[key]:
                self._channels[key] = self._open(*key)
            self._holders[key] += 1
        return {key[0]: self._channels[key] for key in versions.items()}

    async def give_back(self, versions: Versions) -> None:
        """Closes what nobody holds any more."""
        self._holders.subtract(versions.items())
        unheld = [key for key in versions.items() if self._holders[key] <= 0 and key in self._channels]
        await asyncio.gather(*(self._channels.pop(key).close() for key in unheld))

    async def close(self) -> None:
        """Closes all, cancelling what still runs."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))


@dataclass(eq=False)
class Release:
    """One version of every stage. info: as one model. versions: of the stages. channel_versions: by which they are
    reached. users: the requests it serves."""

    info: StackInfo
    versions: Versions
    channel_versions: Versions
    clients: Clients
    users: int = 0


@dataclass(eq=False)
class Releases:
    """Counts the stages' replicas, again and again, and decides which release is served: see `gateway.stages.versions`.

    One count is under way at a time, whoever waits for it: neither how many callers there are nor how hasty they are
    changes what is asked, or believed. A stage that does not answer is taken to be as it was.
    """

    source: ModelInfoSource
    channels: SharedChannels
    breakers: Mapping[ServiceName, CircuitBreaker]
    hold: float = HOLD_S
    _census: dict[ServiceName, dict[str, model_info_pb2.ModelInfo]] = field(default_factory=dict)
    _served: Release | None = None
    _better: tuple[tuple[Versions, Versions], float] | None = None  # what has been better than what is, and since when
    _apart: PreconditionFailed | None = None  # why what is best makes no stack
    _lost: int = 0  # counts in a row
    _seen: dict[tuple[ServiceName, str], int] = field(default_factory=dict)  # by the count before
    _counts: int = 0  # so far
    _serving: Mapping[ServiceName, int] = field(default_factory=dict)  # how many replicas are, by the latest
    _counted: asyncio.Condition = field(default_factory=asyncio.Condition)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> None:
        """Begins to count. Call it on the event loop that will serve."""
        self._background(self._watch())

    async def close(self) -> None:
        """Ends counting, and closes the channels to the stages, cancelling what still runs on them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channels.close()

    async def wait(self, patience: float) -> None:
        """Waits until there is a release, at most ``patience`` seconds, then goes on without.

        Raises:
            PreconditionFailed: the stages are all there, but do not belong together.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._served is None:
                    await self._count_anew()
        if self._served is not None:
            return
        missing = self._missing()
        if self._apart is not None:
            raise self._apart
        if not missing and best_set(self._census, {}) is None:
            raise PreconditionFailed(
                "clip_space",
                f"the stages speak different CLIP spaces: {clip_mismatch(self._census)}; serve checkpoints of one CLIP",
            )
        LOG.warning("starting although a stage is missing: %s", ", ".join(missing) or "all")

    async def info(self, call: Call) -> StackInfo:
        """What is served.

        Raises:
            DeadlineExceeded: ``call`` has no time to wait for the first count.
            Unavailable: a stage has not reported its model yet, or they do not belong together.
        """
        return (await self._release(call)).info

    @asynccontextmanager
    async def serving(self, call: Call) -> AsyncIterator[Release]:
        """The release for one request, which stays usable until the request has ended. Raises as `info`."""
        release = await self._release(call)
        release.users += 1
        try:
            yield release
        finally:
            release.users -= 1
            self._let_go(release)

    async def moved_from(self, release: Release, call: Call) -> bool:
        """Whether another than ``release``, of which a stage cannot be reached, is served by now.

        Waits for the stages to be counted again: a moment, longer while there is another that could be.
        """
        await self._turn(release, call, TURN_S)
        if self._moving():
            await self._turn(release, call, LONG_TURN_S)
        return self._served is not release

    async def _turn(self, release: Release, call: Call, patience: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(patience, call.deadline - time.monotonic() - MARGIN_S))):
                for counts in range(SURE + 1):  # the one under way may have begun before the replicas went
                    if self._served is not release or (counts > 1 and not self._lost):
                        return
                    await self._count_anew()

    def replicas(self) -> list[gateway_pb2.ReplicaCount]:
        """How many replicas of each stage have which version, and which of them are served."""
        served = self._served.versions if self._served else {}
        return [
            gateway_pb2.ReplicaCount(stage=service, version=version, count=count, served=served.get(service) == version)
            for (service, version), count in replica_counts(self._census).items()
        ]

    def serving_replicas(self, service: ServiceName) -> float:
        """How many replicas of ``service`` the newest requests are served by; infinite where none has been counted."""
        return self._serving.get(service, float("inf"))

    async def _release(self, call: Call) -> Release:
        if self._served is None:
            # Before the first count has ended nobody knows which stage is missing.
            patience = TURN_S if self._counts else float("inf")
            try:
                async with asyncio.timeout(max(0.0, min(patience, call.deadline - time.monotonic() - MARGIN_S))):
                    for _ in range(2):
                        await self._count_anew()
            except TimeoutError:
                if not self._counts:
                    unknown = ", ".join(self._missing())
                    raise DeadlineExceeded(f"no time is left to wait for the models of: {unknown}") from None
        if self._served is not None:
            return self._served
        if missing := self._missing():
            failure = Unavailable(missing[0], f"the {missing[0]} has not reported its model yet")
            failure.asked_again = True
            raise failure
        if self._apart is not None:
            raise Unavailable(SERVICES[0], str(self._apart))
        spaces = clip_mismatch(self._census)
        raise Unavailable(
            SERVICES[0], f"the stages speak different CLIP spaces, as while weights are replaced: {spaces}"
        )

    async def _count_anew(self) -> None:
        """Waits for the end of the next count, which begins soon; of the one under way, if there is one."""
        before = self._counts
        self._wake.set()
        async with self._counted:
            await self._counted.wait_for(lambda: self._counts > before)

    def _missing(self) -> list[ServiceName]:
        return [service for service in SERVICES if not self._census.get(service)]

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            try:
                found = await census(self.source)
                # Of a stage that does not answer the last answers are kept: a call may not need it.
                self._census |= {service: replicas for service, replicas in found.items() if replicas}
                await self._decide(self._census)
                self._apart = None
            except PreconditionFailed as error:
                if str(error) != str(self._apart):
                    LOG.warning("what the stages have loaded does not belong together: %s", error)
                self._apart = error
            except Exception:  # whatever it was, calls go on with what is served
                LOG.exception("the stages' replicas could not be counted")
            self._show()
            async with self._counted:
                self._counts += 1
                self._counted.notify_all()
            await asyncio.sleep(LEAST_S if self._served else FIRST_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), MOVING_S if self._moving() else STEADY_S)

    def _moving(self) -> bool:
        """Whether there is more to be seen than one version of each stage."""
        return self._served is None or set(replica_counts(self._census)) != set(self._served.versions.items())

    async def _decide(self, found: Census) -> None:
        """Moves to another release where that is due."""
        served = self._served.versions if self._served else {}
        best = best_set(found, served)
        if best is None or (self._served and same(best, self._served)):
            self._better, self._lost = None, 0
            if best is not None and self._served is not None:
                self._served.info = merge(best)  # defaults may change without the weights
            return
        now, better = time.monotonic(), (versions_of(best), channel_versions_of(best))
        if self._better is None or self._better[0] != better:
            self._better = (better, now)
        seen, self._seen = self._seen, replica_counts(found)
        if not served and seen != self._seen:
            self._wake.set()
            return
        gone = lost_stages(found, served)
        self._lost = self._lost + 1 if gone else 0
        if served and self._lost < SURE and now - self._better[1] < self.hold:
            if gone:
                self._wake.set()  # to be sure at once
            return
        await self._move(best)

    async def _move(self, infos: Mapping[ServiceName, model_info_pb2.ModelInfo]) -> None:
        """Serves ``infos`` from now on, once their replicas are reached; or in any case where nothing is served yet."""
        info, before = merge(infos), self._served
        versions, channel_versions = versions_of(infos), channel_versions_of(infos)
        channels = self.channels.take(channel_versions)
        try:
            async with asyncio.timeout(READY_S):
                await asyncio.gather(*(channel.channel_ready() for channel in channels.values()))
        except TimeoutError:
            LOG.warning("replicas report a version, but cannot be reached by it: %s", shown(versions))
            if before is not None:
                await self.channels.give_back(channel_versions)
                return
        if before is not None:
            VERSION_SWITCHES.inc()
            LOG.warning("new requests are served by another version: %s", shown(versions))
        self._served = Release(
            info, versions, channel_versions, Clients(channels, versions, channel_versions, self.breakers)
        )
        self._better, self._lost = None, 0
        if before is not None:
            self._let_go(before)

    def _let_go(self, release: Release) -> None:
        """Gives the channels of a release back that serves nobody, now and from now on."""
        if release.users == 0 and release is not self._served:
            self._background(self.channels.give_back(release.channel_versions))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _show(self) -> None:
        STAGE_REPLICAS.clear()
        served = set(self._served.versions.items()) if self._served else set()
        self._serving = {key[0]: count for key, count in replica_counts(self._census).items() if key in served}
        for count in self.replicas():
            STAGE_REPLICAS.labels(count.stage, count.version[:SHOWN], str(count.served).lower()).set(count.count)


def same(infos: Mapping[ServiceName, model_info_pb2.ModelInfo], release: Release) -> bool:
    """Whether ``release`` serves these already."""
    return (versions_of(infos), channel_versions_of(infos)) == (release.versions, release.channel_versions)


def shown(versions: Versions) -> str:
    """The version of each stage, for people."""
    return ", ".join(f"{service} {version[:SHOWN]}" for service, version in versions.items())
