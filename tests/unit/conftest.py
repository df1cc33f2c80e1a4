"""Fixtures that several unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.engine_bench import Bench, MakeBench


@pytest.fixture
def make_bench() -> Iterator[MakeBench]:
    """Makes engines that stand at a gate, and closes them."""
    benches: list[Bench] = []

    def make(**limits: Any) -> Bench:
        benches.append(Bench(**limits))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def quick_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway counts the replicas of its stages in quick succession."""
    for name, seconds in {"STEADY_S": 0.1, "MOVING_S": 0.05, "LEAST_S": 0.02, "READY_S": 0.2}.items():
        monkeypatch.setattr(f"gateway.stages.releases.{name}", seconds)
