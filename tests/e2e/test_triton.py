"""Networks on a real tritonserver: the same pictures, and its failures as ours."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from PIL import Image

from prior_svc.app import build
from prior_svc.networks import signature
from prior_svc.prior import Prior
from prior_svc.settings import Settings
from tests.e2e.triton_models import add_onnx_prior, add_sleeper, pressed
from tests.processes import free_port
from tests.tiny import CONTEXT, WIDTH, make_tiny_checkpoint
from tests.triton_server import PATHS, NoTriton, TritonServer, wheel
from tests.unit.engine_bench import BatchSizes
from tests.unit.triton_configs import KARLOS
from unclip import Client, Generate, LocalStack, Progress, Sampling
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.client import GeneratedImage
from unclip.engine.engine import Engine
from unclip.engine.observer import Observer
from unclip.engine.trajectory import Trajectory
from unclip.errors import Cancelled, ConfigurationError, DeadlineExceeded, Unavailable
from unclip.networks.interface import NetworkName
from unclip.options import SamplingSettings
from unclip.testing.stack import start_server
from unclip.triton.address import ModelAddress
from unclip.triton.export import Options, export
from unclip.triton.remote import TritonNetwork, connect
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import SampleTask

pytestmark = pytest.mark.timeout(400)  # a server takes half a minute to load six models on two cores
CPU = torch.device("cpu")
DECODER = "unclip.api.decoder.v1.DecoderService"
ROLES = {"text_encoder": "encoder", "image_encoder": "encoder", "prior": "prior"}  # the decoder runs the others


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A tritonserver with all networks of the tiny checkpoint, four rows at most at once, one of them from an ONNX file
    too, and two models that sleep."""
    try:
        wheel()
    except NoTriton as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("triton")
    models = folder / "models"
    exported = export(str(tiny_checkpoint), models, Options(max_batch=4, threads=1, python_path=PATHS))
    assert [path.name for path in exported] == list(KARLOS)
    add_onnx_prior(models, folder, tiny_checkpoint, Options("onnxruntime", max_batch=4, threads=1))
    add_sleeper(models, "slow", 1.0)
    add_sleeper(models, "stuck", 600.0)
    with TritonServer(models, folder, free_port()) as running:
        try:
            running.wait_ready([*KARLOS, "prior_onnx", "slow", "stuck"], 300)
        except NoTriton as reason:
            pytest.skip(str(reason))
        yield running


@pytest.fixture(scope="module")
def stack(server: TritonServer, tiny_checkpoint: Path) -> Iterator[LocalStack]:
    """A stack whose every network is on the server."""
    options: dict[str, list[str]] = {}
    for name in KARLOS:
        words = options.setdefault(ROLES.get(name, "decoder"), [])
        words += ["--network", f"{name}=triton://{server.address}/{name}"]
    with LocalStack(tiny_checkpoint, threads=1, options=options) as running:
        yield running


def pixels(image: GeneratedImage) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(image.to_pil()).astype(np.int16)


def until(condition: Callable[[], bool], patience: float = 120.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "not within patience"
        time.sleep(0.1)


def walk(prior: Prior, seed: int = 0, steps: int = 3, deadline: float = float("inf")) -> Trajectory:
    """A guided walk of the prior."""
    random = np.random.default_rng(seed)
    text, empty = (
        TextEncoding(
            Embedding(random.standard_normal(WIDTH, dtype=np.float32), ""),
            random.standard_normal((CONTEXT, WIDTH), dtype=np.float32),
            np.arange(CONTEXT) < 5 + seed,
        )
        for _ in range(2)
    )
    return prior.sample(SampleTask(text, empty, seed, SamplingSettings("ddpm", steps, 3.0)), deadline=deadline)


async def prior_on(server: TritonServer, model: str, checkpoint: Checkpoint) -> dict[NetworkName, TritonNetwork]:
    """The prior's network of a checkpoint, run by ``model`` on the server."""
    address: dict[NetworkName, ModelAddress] = {"prior": ModelAddress(server.address, model)}
    return await connect(address, lambda name: signature(name, checkpoint), lambda _: checkpoint)


@asynccontextmanager
async def remote_prior(
    server: TritonServer, checkpoint: Path, model: str, observer: Observer | None = None
) -> AsyncIterator[tuple[Prior, Engine]]:
    """A prior whose network is ``model`` on the server, and an engine that runs it."""
    opened = Checkpoint.open(checkpoint)
    remotes = await prior_on(server, model, opened)
    prior = Prior(opened, CPU, remotes=remotes)
    engine = Engine(prior.programs, max_batch=8, observer=observer)
    try:
        yield prior, engine
    finally:
        await asyncio.to_thread(engine.close)
        await remotes["prior"].close()


async def results(engine: Engine, walks: list[Trajectory]) -> list[torch.Tensor]:
    with engine.reserve(len(walks)) as room:
        for one in walks:
            room.submit(one)
    return [await asyncio.wrap_future(one.future) for one in walks]


def test_a_picture_whose_every_network_is_on_the_server_is_the_local_one(
    stack: LocalStack, tiny_checkpoint: Path
) -> None:
    source = Image.effect_noise((40, 30), 60).convert("RGB")
    made: dict[Client, list[GeneratedImage]] = {}
    with (
        LocalStack(tiny_checkpoint, threads=1) as local,
        Client(local.address) as ours,
        Client(stack.address) as theirs,
    ):
        for client in (ours, theirs):
            drawn = client.generate("a red cat", seed=5, image_count=2)
            made[client] = [*drawn, *client.vary(source, seed=5)]
        for one, other in zip(made[ours], made[theirs], strict=True):
            assert abs(pixels(one) - pixels(other)).max() <= 1
        assert theirs.model_info().version == ours.model_info().version
        assert (theirs.model_info().device, ours.model_info().device) == ("triton", "cpu")


@pytest.mark.parametrize("model", ["prior", "prior_onnx"])
async def test_more_rows_than_the_model_takes_at_once_come_back_in_order(
    server: TritonServer, tiny_checkpoint: Path, model: str
) -> None:
    local = Prior(Checkpoint.open(tiny_checkpoint), CPU)
    engine = Engine(local.programs)
    try:
        wanted = await results(engine, [walk(local, seed) for seed in range(5)])
    finally:
        await asyncio.to_thread(engine.close)
    observer = BatchSizes()
    async with remote_prior(server, tiny_checkpoint, model, observer) as (prior, remote):
        found = await results(remote, [walk(prior, seed) for seed in range(5)])
        assert max(observer.sizes) == 5  # ten rows, guided as they are, on a model that takes four
    assert torch.allclose(torch.stack(found), torch.stack(wanted), atol=1e-4)


async def test_a_cancelled_job_frees_the_engine_while_the_model_still_works(
    server: TritonServer, tiny_checkpoint: Path
) -> None:
    async with remote_prior(server, tiny_checkpoint, "stuck") as (prior, engine):
        job = walk(prior)
        with engine.reserve() as room:
            room.submit(job)
        await asyncio.sleep(0.3)
        job.cancel()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(asyncio.wrap_future(job.future), 20)
        late = walk(prior, deadline=time.monotonic() + 0.3)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(asyncio.wrap_future(submitted(engine, late).future), 20)


def submitted(engine: Engine, job: Trajectory) -> Trajectory:
    with engine.reserve() as room:
        room.submit(job)
    return job


async def test_a_full_queue_is_resource_exhausted_with_a_time_to_come_back(
    server: TritonServer, tiny_checkpoint: Path
) -> None:
    """One request on the model and one in its queue, whoever sent them, are all it takes."""
    app = await build(
        Settings(checkpoint=str(tiny_checkpoint), device="cpu", network=f"prior=triton://{server.address}/prior")
    )
    [network] = app.remotes
    network.address = ModelAddress(server.address, "slow")
    served, address = await start_server(app.services)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = prior_pb2_grpc.PriorServiceStub(channel)
            blank = TextEncoding.blank(WIDTH, CONTEXT, WIDTH)
            space = Checkpoint.open(tiny_checkpoint).clip_space
            named = Embedding(blank.embedding.values, space)
            text = TextEncoding(named, blank.token_states, blank.token_mask).to_proto()
            with pressed(network):
                for _ in range(60):  # a place in the queue may be free for a moment, and the sleeper then fails
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        async for _ in stub.Sample(prior_pb2.SampleRequest(text=text, unconditional_text=text)):
                            pass
                    if refused.value.code() is not grpc.StatusCode.INTERNAL:
                        break
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "queue is full" in (refused.value.details() or "")
        found: Any = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in found.details)
        assert retry.retry_delay.seconds >= 1
    finally:
        await served.stop(None)
        await app.close()


async def test_a_model_of_another_signature_is_refused_at_start(server: TritonServer, tiny_checkpoint: Path) -> None:
    opened = Checkpoint.open(tiny_checkpoint)
    with pytest.raises(ConfigurationError, match="the model upsampler has as input "):
        await prior_on(server, "upsampler", opened)


async def test_a_model_of_other_weights_is_refused_at_start(server: TritonServer, tmp_path: Path) -> None:
    other = Checkpoint.open(make_tiny_checkpoint(tmp_path / "other", seed=1))
    with pytest.raises(ConfigurationError, match="the model prior was exported with weights"):
        await prior_on(server, "prior", other)


async def test_a_service_waits_for_a_model_that_is_not_there(server: TritonServer, tiny_checkpoint: Path) -> None:
    opened = Checkpoint.open(tiny_checkpoint)
    waiting = asyncio.ensure_future(prior_on(server, "nobody", opened))
    done, _ = await asyncio.wait([waiting], timeout=2)
    assert not done
    waiting.cancel()


@pytest.fixture
def lone(server: TritonServer, tmp_path: Path) -> Iterator[TritonServer]:
    """A server of the decoder alone: it is soon there again."""
    with TritonServer(server.repository, tmp_path, free_port(), models=("decoder",)) as running:
        running.wait_ready(["decoder"], 300)
        yield running


@pytest.fixture
def decoding(lone: TritonServer, tiny_checkpoint: Path) -> Iterator[LocalStack]:
    """A stack whose decoder is on that."""
    words = ["--network", f"decoder=triton://{lone.address}/decoder"]
    with LocalStack(tiny_checkpoint, threads=1, options={"decoder": words}) as running:
        yield running


def test_a_server_killed_mid_picture_is_unavailable_and_its_return_is_noticed(
    lone: TritonServer, decoding: LocalStack
) -> None:
    server, stack = lone, decoding
    settings: dict[str, Any] = {"seed": 9, "decoder": Sampling(steps=20)}
    long = Generate("a red cat", seed=9, decoder=Sampling(steps=300))  # also of a slow machine within the time
    [address] = [service.address() for service in stack._services if service.role == "decoder"]
    assert address is not None

    with Client(stack.address, timeout=120) as client, grpc.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)

        def serving() -> bool:
            answer = health.Check(health_pb2.HealthCheckRequest(service=DECODER), timeout=5)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        [before] = client.generate("a red cat", **settings)
        assert serving()
        events = client.stream(long)
        for event in events:
            if isinstance(event, Progress) and event.stage == "decoder" and event.step > 2:
                server.kill()
                break
        with pytest.raises(Unavailable):
            list(events)
        until(lambda: not serving())
        with pytest.raises(Unavailable):
            client.generate("a red cat", **settings)

        server.start()
        server.wait_ready(["decoder"], 300)
        until(serving)
        again: list[GeneratedImage] = []

        def drawn() -> bool:
            with contextlib.suppress(Unavailable):
                again[:] = client.generate("a red cat", **settings)
            return bool(again)

        until(drawn)
        assert abs(pixels(again[0]) - pixels(before)).max() <= 1
