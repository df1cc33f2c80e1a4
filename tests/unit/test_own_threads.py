"""The threads of an operation are the engine's: a second pool of OpenMP workers would slow its own down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch

from unclip.engine.engine import Engine
from unclip.model_app import own_threads

THREADS = 2


@pytest.fixture
def several() -> Iterator[None]:
    """This process computes with several threads, and afterwards with those that it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("several")
async def test_the_engine_computes_with_all_threads_and_every_other_thread_alone() -> None:
    engine = Engine({})
    try:
        await own_threads(engine)
        assert await asyncio.wrap_future(engine.call(torch.get_num_threads)) == THREADS
        assert torch.get_num_threads() == 1
        assert await asyncio.to_thread(torch.get_num_threads) == 1
    finally:
        engine.close()
