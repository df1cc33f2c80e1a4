"""What the services with networks share once their networks are loaded: an engine, its trial run, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unclip.engine.engine import Engine
from unclip.engine.job import Job, Program
from unclip.serving.metrics import EngineMetrics
from unclip.serving.server import Service
from unclip.serving.settings import ModelSettings


@dataclass
class ModelApp:
    """Services in front of one engine; see `unclip.serving.server.App`."""

    engine: Engine
    failed: asyncio.Event
    services: list[Service] = field(default_factory=list)

    @classmethod
    def start(cls, settings: ModelSettings, programs: Mapping[str, Program[Any]], stage: str) -> ModelApp:
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
        return cls(engine, failed)

    async def warm_up(self, jobs: Sequence[Job[Any]]) -> None:
        """Runs ``jobs``, so that the first caller does not wait for what is done only once."""
        for job in jobs:
            with self.engine.reserve() as room:
                room.submit(job)
            await asyncio.wrap_future(job.future)

    async def close(self) -> None:
        """Ends what still runs."""
        await asyncio.to_thread(self.engine.close)
