"""Every test of this folder that takes services runs twice: against stubs, and against the real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.gateways import gateway_at, gateway_of
from tests.contract.services import MODEL, Bounds, Host, Services
from unclip import Client
from unclip.testing.blocking import LoopThread
from unclip.testing.model import StubModel

# One sample at a time, none waiting: what is not let go blocks the next caller.
NARROW = Bounds(capacity=1, queue_limit=0, step_seconds=0.01)
SHARED = replace(NARROW, capacity=4)
BRIEF = replace(NARROW, max_deadline=0.4)


@pytest.fixture(scope="module", params=["stub", "real"])
def checkpoint(request: pytest.FixtureRequest) -> Path | None:
    """The real services' checkpoint, None for stubs."""
    return None if request.param == "stub" else request.getfixturevalue("tiny_checkpoint")


@contextmanager
def serving(bounds: Bounds, checkpoint: Path | None, model: StubModel = MODEL) -> Iterator[Services]:
    host = Host(bounds, checkpoint, model)
    with LoopThread() as thread, ExitStack() as exits:
        exits.callback(lambda: thread.run(host.stop()))  # also when it fails to start
        thread.run(host.start())
        services = Services(host.address)
        exits.callback(services.close)
        yield services


@pytest.fixture(scope="module")
def services(checkpoint: Path | None) -> Iterator[Services]:
    """All stages, with room for anything."""
    with serving(Bounds(), checkpoint) as services:
        yield services


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[Client]:
    """A client of a gateway in front of them."""
    with gateway_of(services) as client:
        yield client


@pytest.fixture(scope="module")
def address(services: Services) -> Iterator[str]:
    """``host:port`` of such a gateway."""
    with gateway_at(services) as address:
        yield address


@pytest.fixture
def narrow(checkpoint: Path | None) -> Iterator[Services]:
    """All stages, with room for one sample at a time."""
    with serving(NARROW, checkpoint) as services:
        yield services


@pytest.fixture
def brief(checkpoint: Path | None) -> Iterator[Services]:
    """The same, with no more than 0.4 seconds for a call."""
    with serving(BRIEF, checkpoint) as services:
        yield services


@pytest.fixture
def shared(checkpoint: Path | None) -> Iterator[Services]:
    """The same, with room for four."""
    with serving(SHARED, checkpoint) as services:
        yield services
