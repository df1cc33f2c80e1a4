"""Callers of the gateway: open load, at times drawn beforehand, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.serving.clients import HEADER
from unclip.serving.tls import Tls

GATEWAY = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
TIMEOUT_S = 45.0
CLIENTS = 64  # names that calls come under, so that nobody exceeds a client's share


@dataclass(frozen=True)
class Outcome:
    """What became of a call. sent, ended: `time.monotonic` seconds; code: "OK" or the status it ended with."""

    seed: int
    sent: float
    ended: float
    code: str
    digest: str = ""
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.sent


@dataclass
class Load:
    """Calls of ``Generate`` through one client's channel. ``ended`` fills as calls end."""

    stub: gateway_pb2_grpc.GatewayServiceAsyncStub
    steps: int | None = None
    ended: list[Outcome] = field(default_factory=list)

    async def one(self, seed: int) -> Outcome:
        """One picture."""
        request = gateway_pb2.GenerateRequest(caption=f"picture {seed % 50}", seed=seed)
        if self.steps:
            request.decoder.steps = self.steps
        began, code, digest, message = time.monotonic(), "OK", "", ""
        try:
            answer = await self.stub.Generate(
                request, timeout=TIMEOUT_S, metadata=((HEADER, f"drill-{seed % CLIENTS}"),)
            )
            digest = hashlib.sha256(answer.images[0].image.data).hexdigest()
        except grpc.aio.AioRpcError as error:
            code, message = error.code().name, error.details() or ""
        outcome = Outcome(seed, began, time.monotonic(), code, digest, message)
        self.ended.append(outcome)
        return outcome

    async def offer(self, rate: float, stop: asyncio.Event, seed: int = 0) -> None:
        """Poisson arrivals, ``rate`` a second, until ``stop``; then waits for those under way."""
        chance, running, number = random.Random(seed), set[asyncio.Task[Outcome]](), 0
        while not stop.is_set():
            task = asyncio.create_task(self.one(number))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            await asyncio.sleep(chance.expovariate(rate))
        await asyncio.gather(*running)

    @asynccontextmanager
    async def flowing(self, rate: float) -> AsyncIterator[None]:
        """Load while the body runs; at the exit every call has ended."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.offer(rate, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    @property
    def failures(self) -> list[Outcome]:
        """Calls that did not get their picture."""
        return [outcome for outcome in self.ended if outcome.code != "OK"]

    def told(self) -> str:
        """How many calls ended how."""
        counts = Counter(outcome.code for outcome in self.ended)
        return ", ".join(f"{number} {code}" for code, number in counts.most_common())


@asynccontextmanager
async def calling(target: str, steps: int | None = None, tls: Tls | None = None) -> AsyncIterator[Load]:
    """A client as ours are: round robin over the gateways that serve, with the retries that channels have."""
    channel = open_channel(target, GATEWAY, tls)
    try:
        yield Load(gateway_pb2_grpc.GatewayServiceStub(channel), steps)
    finally:
        await channel.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
