"""What several of these tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unclip import LocalStack


@pytest.fixture(scope="session")
def stack(tiny_checkpoint: Path) -> Iterator[LocalStack]:
    """Four processes that serve the tiny checkpoint; leave them as they are."""
    with LocalStack(tiny_checkpoint, threads=1) as stack:
        yield stack
