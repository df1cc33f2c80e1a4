"""Puts a process of stubs together: all on one port, the real gateway beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from unclip.serving.metrics import EngineMetrics
from unclip.serving.server import Service
from unclip.testing.settings import Settings
from unclip.testing.stack import StubStages, open_gateway

LONGEST_DEFAULT_S = 300.0  # that the gateway takes
PATIENCE_S = 5.0


@dataclass(frozen=True)
class StubApp:
    """Stubs ready to be served. exits: what to close with them."""

    services: Sequence[Service]
    exits: AsyncExitStack
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Closes the gateway, if there is one, and the ports on which it reaches the stubs."""
        await self.exits.aclose()


async def build(settings: Settings) -> StubApp:
    """The stubs, and where wanted the gateway, which reaches them on ports of their own."""
    stages = StubStages(
        settings.model(),
        {stage: settings.faults(stage) for stage in settings.chosen},
        max_deadline=settings.max_deadline,
        remember=False,
    )
    services = [stages.stubs[stage].service for stage in settings.chosen]
    for stage in settings.chosen:  # so that dashboards and autoscalers can be tried on stubs
        EngineMetrics(stage).watch(stages.stubs[stage].load, stages.stubs[stage].faults.capacity)
    async with AsyncExitStack() as exits:
        if settings.with_gateway:
            await exits.enter_async_context(stages)
            longest = min(settings.max_deadline, LONGEST_DEFAULT_S)
            gateway, _ = await open_gateway(
                stages.addresses, PATIENCE_S, longest, max_deadline=settings.max_deadline, api_keys=settings.api_keys
            )
            exits.push_async_callback(gateway.close)
            services += gateway.services
        return StubApp(services, exits.pop_all())
