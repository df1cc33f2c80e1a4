"""Callers in a process of their own: what they cost themselves must not be measured with what they cost others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

Apart = Callable[..., asyncio.Future[Any]]


@contextmanager
def apart() -> Iterator[Apart]:
    """Gives what begins ``function, *arguments`` in another process, one after the other; their results are awaited."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *arguments: loop.run_in_executor(pool, function, *arguments)
