"""What the services with networks have in common once they are built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from unclip.serving.server import Service


@dataclass(frozen=True)
class ModelApp:
    """Services in front of engines. stop: ends the engines; blocks, so it is called on another thread."""

    services: Sequence[Service]
    stop: Callable[[], None]
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Ends the engines."""
        await asyncio.to_thread(self.stop)
