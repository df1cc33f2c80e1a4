"""Every test of this folder that takes services runs against stubs and against the real; modules that
name FAMILIES run against those."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import grpc
import pytest

from tests.contract.gateways import gateway_at, gateway_of
from tests.contract.refusals import read
from tests.contract.requests import sound
from tests.contract.services import WALKS, Bounds, Host, Method, Services
from tests.contract.toys import PLAIN, TOYS, Toy
from unclip import Client
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.testing.blocking import LoopThread

# One sample at a time, none waiting: what is not let go blocks the next caller.
NARROW = Bounds(capacity=1, queue_limit=0, step_seconds=0.01)
SHARED = replace(NARROW, capacity=4)
BRIEF = replace(NARROW, max_deadline=0.4)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    told = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "toy" in metafunc.fixturenames and not any(names == "toy" or "toy" in tuple(names) for names in told):
        metafunc.parametrize("toy", getattr(metafunc.module, "FAMILIES", PLAIN), indirect=True, scope="module")


@pytest.fixture(scope="module")
def toy(request: pytest.FixtureRequest) -> Toy:
    """What is served."""
    return TOYS[request.param]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Toy], Path]:
    """Writes the checkpoint of a toy that has one, once."""

    @cache
    def make(toy: Toy) -> Path:
        assert toy.make
        return toy.make(tmp_path_factory.mktemp("toy"))

    return make


@pytest.fixture(scope="module")
def checkpoint(toy: Toy, made: Callable[[Toy], Path]) -> Path | None:
    """The real services' checkpoint, None for stubs."""
    return made(toy) if toy.make else None


def served_within(seconds: float, services: Services, method: Method) -> bool:
    """Whether a sound request is served before ``seconds`` are over; until then it may be told of no room, or of too
    little time, which some services leave a call on a busy machine."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return bool(services.ask(method, sound(services, method)))
        except grpc.RpcError as error:
            if read(error).code not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            time.sleep(0.01)
    return False


@contextmanager
def serving(bounds: Bounds, checkpoint: Path | None, toy: Toy = TOYS["stub"]) -> Iterator[Services]:
    """The stages of ``checkpoint``, or stubs: like ``toy`` in both cases."""
    host = Host(bounds, checkpoint, toy.model)
    with LoopThread() as thread, ExitStack() as exits:
        if toy.latents:
            exits.enter_context(patch.object(Checkpoint, "sizes", toy.model.sizes))  # its family's are not a toy's
        exits.callback(lambda: thread.run(host.stop()))  # also when it fails to start
        thread.run(host.start())
        services = Services(host.address, toy)
        exits.callback(services.close)
        yield services


@pytest.fixture(scope="module")
def services(checkpoint: Path | None, toy: Toy) -> Iterator[Services]:
    """All stages, with room for anything."""
    with serving(Bounds(), checkpoint, toy) as services:
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


@pytest.fixture(scope="module")
def bounded(checkpoint: Path | None, toy: Toy) -> Iterator[Callable[[Bounds], Services]]:
    """All stages within bounds, started once for each of them; none of their places is taken when they are given."""
    with ExitStack() as running:
        start = cache(lambda bounds: running.enter_context(serving(bounds, checkpoint, toy)))

        def give(bounds: Bounds) -> Services:
            services: Services = start(bounds)
            for method in WALKS:
                assert served_within(60, services, method)
            return services

        yield give


@pytest.fixture
def narrow(bounded: Callable[[Bounds], Services]) -> Services:
    """All stages, with room for one sample at a time."""
    return bounded(NARROW)


@pytest.fixture
def brief(bounded: Callable[[Bounds], Services]) -> Services:
    """The same, with no more than 0.4 seconds for a call."""
    return bounded(BRIEF)


@pytest.fixture
def shared(bounded: Callable[[Bounds], Services]) -> Services:
    """The same, with room for four."""
    return bounded(SHARED)
