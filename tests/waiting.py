"""Waiting for what happens soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 20.0


async def until(true: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Returns when ``true()`` is. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
