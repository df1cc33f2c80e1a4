"""What several of these tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metrics import Metrics
from tests.processes import free_port
from unclip import LocalStack


@pytest.fixture(scope="session")
def engine() -> Metrics:
    """The figures of the stack's decoder."""
    return Metrics(f"127.0.0.1:{free_port()}")


@pytest.fixture(scope="session")
def stack(tiny_checkpoint: Path, engine: Metrics) -> Iterator[LocalStack]:
    """Four processes that serve the tiny checkpoint; leave them as they are."""
    with LocalStack(tiny_checkpoint, threads=1, options={"decoder": ["--metrics", engine.address]}) as stack:
        yield stack
