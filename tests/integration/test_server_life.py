"""A server refuses while it loads and drains, tells its health truly, and exits by what ended it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from tests.http2 import ACK, CANCEL, END_HEADERS, HEADERS, RST_STREAM, SETTINGS, Connection, frame, of_call
from tests.processes import free_port
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.errors import EXIT_FAILED
from unclip.serving.channels import open_channel
from unclip.serving.error_table import from_rpc_error
from unclip.serving.server import Service, serve
from unclip.serving.settings import ServerSettings

NAME = "unclip.api.encoder.v1.EncoderService"
Context = grpc.aio.ServicerContext[Any, Any]


class Slow(encoder_pb2_grpc.EncoderServiceServicer):
    """Answers once it may."""

    def __init__(self) -> None:
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def EncodeText(
        self, request: encoder_pb2.EncodeTextRequest, context: Context
    ) -> encoder_pb2.EncodeTextResponse:
        self.asked.set()
        await self.may.wait()
        return encoder_pb2.EncodeTextResponse()


@dataclass
class Toy:
    """An app whose loading takes as long as the test wants."""

    services: Sequence[Service]
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def close(self) -> None:
        self.closed = True


class Life:
    """A server in this process, from its first moment on."""

    def __init__(self, folder: Path) -> None:
        self.servicer = Slow()  # type: ignore[abstract]
        self.app = Toy([Service(NAME, encoder_pb2_grpc.add_EncoderServiceServicer_to_server, self.servicer)])
        self.loaded = asyncio.Event()
        self.file = folder / "address"
        self.port = free_port()
        settings = ServerSettings(port=self.port, address_file=str(self.file), grace=10)
        self.exit = asyncio.ensure_future(serve(settings, "encoder", self.build))
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = encoder_pb2_grpc.EncoderServiceStub(self.channel)

    async def build(self, settings: ServerSettings) -> Toy:
        await self.loaded.wait()
        return self.app

    async def health(self, name: str) -> int | None:
        """What the server says of ``name``, None when it does not know it."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), wait_for_ready=True, timeout=5)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return None
        return int(answer.status)

    async def refusal(self) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.stub.EncodeText(encoder_pb2.EncodeTextRequest(), wait_for_ready=True, timeout=5)
        return f"{failed.value.code().name}: {from_rpc_error(failed.value, 'x')}"

    async def ready(self) -> None:
        self.loaded.set()
        while not self.file.exists():  # noqa: ASYNC110 (a file gives no event)
            await asyncio.sleep(0.01)


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    life = Life(tmp_path)
    yield life
    life.loaded.set()
    life.servicer.may.set()
    life.app.failed.set()
    await life.channel.close()
    await life.exit


async def test_while_it_loads_it_lives_is_not_ready_and_says_so(life: Life) -> None:
    assert await life.health("") == health_pb2.HealthCheckResponse.SERVING
    assert await life.health(NAME) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await life.refusal() == "UNAVAILABLE: the encoder is loading"
    assert not life.file.exists()


async def test_whoever_watches_its_health_hears_of_changes_also_when_others_have_left(life: Life) -> None:
    stub: Any = health_pb2_grpc.HealthStub(life.channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(service=NAME), wait_for_ready=True) for _ in range(3)]
    first = [(await watch.read()).status for watch in watches]
    assert first == [health_pb2.HealthCheckResponse.NOT_SERVING] * 3
    watches.pop(0).cancel()
    await asyncio.sleep(0.1)
    await life.ready()
    async with asyncio.timeout(10):
        assert [(await watch.read()).status for watch in watches] == [health_pb2.HealthCheckResponse.SERVING] * 2


async def test_names_made_up_by_callers_are_refused_and_do_not_fill_the_metrics(life: Life) -> None:
    ask: Any = life.channel.unary_unary("/made.Up/ByACaller")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(b"", wait_for_ready=True, timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    values = {value for metric in REGISTRY.collect() for sample in metric.samples for value in sample.labels.values()}
    assert "made.Up/ByACaller" not in values


async def test_once_loaded_it_is_ready_and_tells_where(life: Life) -> None:
    await life.ready()
    assert life.file.read_text() == f"127.0.0.1:{life.port}\n"
    assert await life.health(NAME) == health_pb2.HealthCheckResponse.SERVING
    assert await life.health("made.Up") is None


async def test_a_call_under_way_ends_well_while_new_ones_are_refused(life: Life) -> None:
    await life.ready()
    call = life.stub.EncodeText(encoder_pb2.EncodeTextRequest())
    await life.servicer.asked.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.2)
    assert not life.exit.done()
    life.servicer.may.set()
    assert isinstance(await call, encoder_pb2.EncodeTextResponse)
    assert await life.exit == 0
    assert life.app.closed
    assert not life.file.exists()


async def test_a_stop_while_loading_is_heeded(life: Life) -> None:
    assert await life.health("") is not None
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(life.exit, 5) == 0


async def test_a_failed_device_ends_the_process_for_replacement(life: Life) -> None:
    await life.ready()
    life.app.failed.set()
    assert await asyncio.wait_for(life.exit, 5) == EXIT_FAILED


async def test_a_channel_sends_nothing_to_a_replica_until_it_is_ready(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    life = Life(tmp_path / "a")
    channel = open_channel(f"127.0.0.1:{life.port}", NAME)
    stub = encoder_pb2_grpc.EncoderServiceStub(channel)
    life.servicer.may.set()
    waiting = asyncio.ensure_future(stub.EncodeText(encoder_pb2.EncodeTextRequest(), wait_for_ready=True, timeout=20))
    await asyncio.sleep(0.3)
    assert not waiting.done()  # connected, alive, and not ready: nothing is sent there
    await life.ready()
    assert isinstance(await waiting, encoder_pb2.EncodeTextResponse)
    await channel.close()
    life.app.failed.set()
    await life.channel.close()
    await life.exit


async def test_rapid_reset_is_cut_off_and_others_are_served(tmp_path: Path) -> None:
    servicer = Slow()  # type: ignore[abstract]
    servicer.may.set()
    app, file = Toy([Service(NAME, encoder_pb2_grpc.add_EncoderServiceServicer_to_server, servicer)]), tmp_path / "at"

    async def build(settings: ServerSettings) -> Toy:
        return app

    running = asyncio.ensure_future(serve(ServerSettings(address_file=str(file), wasted_calls=5), "encoder", build))
    while not file.exists():  # noqa: ASYNC110 (a file gives no event)
        await asyncio.sleep(0.01)

    def attack() -> int:
        """How many calls it could begin, and give up, before it was cut off."""
        with Connection(file.read_text().strip()) as connection:
            connection.send(frame(SETTINGS, flags=ACK))
            for number in range(100_000):
                stream = connection.next_stream()
                head = frame(HEADERS, of_call(f"/{NAME}/EncodeText"), END_HEADERS, stream)
                try:
                    connection.send(head, frame(RST_STREAM, CANCEL, 0, stream))
                except OSError:
                    return number
        raise AssertionError("it was never cut off")

    async with grpc.aio.insecure_channel(file.read_text().strip()) as channel:
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        await stub.EncodeText(encoder_pb2.EncodeTextRequest(), timeout=10)
        attacks = [await asyncio.to_thread(attack) for _ in range(3)]
        await stub.EncodeText(encoder_pb2.EncodeTextRequest(), timeout=10)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
    assert attacks[0] >= 50
    app.failed.set()
    await running
