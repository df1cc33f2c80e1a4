"""Fixtures that several unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.client_peer import GatewayPeer, picture
from tests.unit.engine_bench import Bench, MakeBench
from unclip import Client

if TYPE_CHECKING:
    from tests.unit.training_smoke import Trained


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


@pytest.fixture
def peer() -> Iterator[GatewayPeer]:
    """A gateway that remembers what it was asked, and answers as it is told to."""
    peer = GatewayPeer()
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def called_peer(peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands call ``peer``, in a folder of their own with the picture ``house.png``."""
    monkeypatch.setenv("UNCLIP_SERVER", peer.target)
    monkeypatch.chdir(tmp_path)
    Path("house.png").write_bytes(picture(7))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """That picture."""
    return tmp_path / "house.png"


@pytest.fixture
def client(peer: GatewayPeer) -> Iterator[Client]:
    """A client of ``peer``."""
    with Client(peer.target, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The whole recipe, run once."""
    from tests.unit.training_smoke import train  # the recipe's imports take seconds, which few tests need

    return train(tmp_path_factory.mktemp("recipe"))


@pytest.fixture
def at_home(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """That run's folder and pictures."""
    from tests.unit.training_smoke import drawn

    monkeypatch.chdir(trained.checkpoint.parent.parent)
    monkeypatch.setattr("training.presets.pairs", drawn)
