"""Decode requests as users would send them: open loop, at times drawn beforehand, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import grpc
import numpy as np

from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc
from unclip.options import SamplingSettings
from unclip.serving.clients import HEADER
from unclip.wire.embeddings import TextEncoding
from unclip.wire.sampling import sampling_to_proto

Status = Literal["ok", "refused", "late", "failed"]
STATUSES: dict[grpc.StatusCode, Status] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "refused",
    grpc.StatusCode.DEADLINE_EXCEEDED: "late",
}
CLIENTS = 64  # names that requests come under, so that nobody exceeds a client's share
GUIDANCE = (1.0, 4.0, 8.0)


@dataclass(frozen=True)
class Job:
    """One picture to ask for. at: when to send it, seconds from the start. rows: what the network computes for it,
    twice a step where there is guidance."""

    at: float
    settings: SamplingSettings
    caption: int
    seed: int

    @property
    def rows(self) -> int:
        return self.settings.steps * self.rows_per_step

    @property
    def rows_per_step(self) -> int:
        return 1 if self.settings.guidance_scale == 1.0 else 2


def jobs(rate: float, steps: Sequence[int], seed: int) -> Iterator[Job]:
    """Endless Poisson arrivals, ``rate`` a second; steps, guidance and caption are drawn evenly, seeds differ."""
    rng, at = np.random.default_rng(seed), 0.0
    for number in itertools.count():
        at += rng.exponential(1 / rate)
        settings = SamplingSettings("ddpm", int(rng.choice(steps)), float(rng.choice(GUIDANCE)))
        yield Job(at, settings, int(rng.integers(0, 1 << 16)), number)


@dataclass
class Outcome:
    """What became of a job. Times are seconds from the start of the load; steps: (when, steps done) as told."""

    job: Job
    sent: float
    ended: float = 0.0
    status: Status = "failed"
    steps: list[tuple[float, int]] = field(default_factory=list)

    @property
    def latency(self) -> float:
        """From the time it should have been sent: a late sender hides nothing."""
        return self.ended - self.job.at

    def rows_within(self, begin: float, end: float) -> int:
        """Rows that were computed for it in that time."""
        done = [max([step for when, step in self.steps if when < edge], default=0) for edge in (begin, end)]
        return (done[1] - done[0]) * self.job.rows_per_step


class Caller:
    """Calls one decoder service over a channel that retries nothing."""

    def __init__(self, address: str, texts: Sequence[TextEncoding], empty: TextEncoding, timeout: float) -> None:
        """texts: of the captions to draw; each one's own embedding serves as its gist."""
        self._channel = grpc.aio.insecure_channel(address, options=(("grpc.enable_retries", 0),))
        self._decode = decoder_pb2_grpc.DecoderServiceStub(self._channel).Decode
        self._texts = [(text.embedding.to_proto(), text.to_proto()) for text in texts]
        self._empty = empty.to_proto()
        self.timeout = timeout

    async def call(self, job: Job, start: float) -> Outcome:
        """Sends one job and reads its stream to the end. start: of the load, `time.monotonic` seconds."""
        embedding, text = self._texts[job.caption % len(self._texts)]
        request = decoder_pb2.DecodeRequest(
            embedding=embedding,
            text=text,
            unconditional_text=self._empty,
            seed=job.seed,
            sampling=sampling_to_proto(job.settings),
        )
        outcome = Outcome(job, time.monotonic() - start)
        stream = self._decode(request, timeout=self.timeout, metadata=((HEADER, f"bench-{job.seed % CLIENTS}"),))
        try:
            async for answer in stream:
                if answer.HasField("sample"):
                    outcome.status = "ok"
                elif answer.progress.step:
                    outcome.steps.append((time.monotonic() - start, answer.progress.step))
        except grpc.aio.AioRpcError as error:
            outcome.status = STATUSES.get(error.code(), "failed")
        finally:
            stream.cancel()
        outcome.ended = time.monotonic() - start
        return outcome

    async def offer(self, load: Sequence[Job]) -> list[Outcome]:
        """Sends every job at its time and waits for all."""
        start = time.monotonic()
        running = []
        for job in load:
            await asyncio.sleep(max(0.0, start + job.at - time.monotonic()))
            running.append(asyncio.create_task(self.call(job, start)))
        return await asyncio.gather(*running)

    async def saturate(self, load: Iterator[Job], at_once: int, seconds: float) -> float:
        """Rows a second that the service computes when ``at_once`` jobs are always under way or waiting."""
        start, warm = time.monotonic(), 0.25 * seconds
        found: list[Outcome] = []

        async def keep_asking() -> None:
            while time.monotonic() < start + warm + seconds:
                found.append(await self.call(next(load), start))

        await asyncio.gather(*(keep_asking() for _ in range(at_once)))
        if any(outcome.status != "ok" for outcome in found):
            raise RuntimeError("a service refused what it had room for")
        return sum(outcome.rows_within(warm, warm + seconds) for outcome in found) / seconds

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()
