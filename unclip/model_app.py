"""What the services with networks share once their networks are loaded: an engine, its trial run, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from unclip.api.type.v1 import sampling_pb2
from unclip.engine.admission import Expected
from unclip.engine.engine import Engine
from unclip.engine.job import Job, Program
from unclip.networks.interface import NetworkName
from unclip.options import SamplingSettings
from unclip.serving.metrics import EngineMetrics
from unclip.serving.server import Service
from unclip.serving.settings import ModelSettings
from unclip.triton.remote import TritonNetwork, watch
from unclip.wire.sampling import MAX_STEPS

Loaded = TypeVar("Loaded")


async def load(build: Callable[..., Loaded], *arguments: Any) -> Loaded:
    """``build(*arguments)``, beside the event loop, in a thread that ends with it.

    A thread that stayed would keep OpenMP workers; see `unclip.engine.engine.Engine.call`.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as once:
        return await asyncio.get_running_loop().run_in_executor(once, build, *arguments)


def expected(
    program: str, options: sampling_pb2.SamplingOptions, defaults: SamplingSettings, deadline: float, priority: int = 0
) -> Expected:
    """The walk that ``options`` ask for, before they are checked: so that one without a chance is refused first."""
    steps = options.steps if options.HasField("steps") else defaults.steps
    guidance = options.guidance_scale if options.HasField("guidance_scale") else defaults.guidance_scale
    return Expected(program, min(max(steps, 1), MAX_STEPS), deadline, 1 if guidance == 1.0 else 2, priority)


@dataclass
class ModelApp:
    """Services in front of one engine; see `unclip.serving.server.App`. remotes: networks that others run."""

    engine: Engine
    failed: asyncio.Event
    services: list[Service] = field(default_factory=list)
    remotes: Sequence[TritonNetwork] = ()

    @classmethod
    def start(
        cls,
        settings: ModelSettings,
        programs: Mapping[str, Program[Any]],
        stage: str,
        remotes: Mapping[NetworkName, TritonNetwork] = {},
    ) -> ModelApp:
        """An app with a running engine and no services yet. Call it on the event loop that will serve."""
        loop, failed, metrics = asyncio.get_running_loop(), asyncio.Event(), EngineMetrics(stage)
        engine = Engine(
            programs,
            capacity=settings.capacity,
            max_batch=settings.max_batch,
            queue_limit=settings.queue_limit,
            stage=stage,
            on_failure=lambda _: loop.call_soon_threadsafe(failed.set),
            observer=metrics,
        )
        metrics.watch(engine.load, settings.capacity)
        return cls(engine, failed, remotes=list(remotes.values()))

    async def warm_up(self, trial: Callable[[], Sequence[Job[Any]]]) -> None:
        """Runs the jobs of ``trial``, so that the first caller does not wait for what is done only once."""
        for job in await asyncio.wrap_future(self.engine.call(trial)):
            with self.engine.reserve() as room:
                room.submit(job)
            await asyncio.wrap_future(job.future)

    async def watch(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Tells whether the networks that others run are there, whenever that changes."""
        if self.remotes:
            await watch(self.remotes, tell)

    async def close(self) -> None:
        """Ends what still runs."""
        await asyncio.to_thread(self.engine.close)
        for network in self.remotes:
            await network.close()
