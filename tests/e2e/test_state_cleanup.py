"""Whatever becomes of two thousand requests, the service is empty afterwards: no row, no queue, no memory kept."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.metrics import Metrics
from tests.processes import Process, free_port
from tests.tiny import CONTEXT, WIDTH
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.wire.embeddings import Embedding, TextEncoding

REQUESTS = 2000
AT_ONCE = 32
GROWTH_LIMIT = 100 * 1024 * 1024
GAUGES = ("unclip_rows_running", "unclip_queue_depth", "unclip_saturation")
FATES = ("ok", "ok", "cancel", "leave", "timeout", "bad", "kill")


@contextmanager
def running(module: str, checkpoint: Path, folder: Path) -> Iterator[tuple[Process, Metrics]]:
    """A running service, and what it says of itself."""
    metrics = Metrics(f"127.0.0.1:{free_port()}")
    options = ["--checkpoint", str(checkpoint), "--device", "cpu", "--threads", "1", "--metrics", metrics.address]
    options += ["--log-level", "ERROR", "--capacity", "8", "--queue-limit", "1024"]
    process = Process(module, options, folder)
    try:
        process.address()
        yield process, metrics
    finally:
        process.kill()


def request(space: str, seed: int, steps: int) -> prior_pb2.SampleRequest:
    states = np.full((CONTEXT, WIDTH), 0.1, np.float32)
    text = TextEncoding(Embedding(states[0], space), states, np.ones(CONTEXT, np.bool_)).to_proto()
    asked = prior_pb2.SampleRequest(text=text, unconditional_text=text, seed=seed, candidates=1 + seed % 3)
    asked.sampling.steps = steps
    return asked


async def meet(fate: str, address: str, stub: prior_pb2_grpc.PriorServiceAsyncStub, space: str, seed: int) -> None:
    """One request, and what becomes of it."""
    asked = request(space, seed, 3 if fate == "ok" else 200)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        match fate:
            case "ok":
                async for _ in stub.Sample(asked, timeout=60):
                    pass
            case "bad":
                asked.sampling.steps = 0
                async for _ in stub.Sample(asked, timeout=60):
                    pass
            case "timeout":
                async for _ in stub.Sample(asked, timeout=0.02 + seed % 7 / 100):
                    pass
            case "cancel":
                call = stub.Sample(asked, timeout=60)
                await asyncio.sleep(seed % 5 / 200)
                call.cancel()
            case "leave":  # the first step is read, then nobody reads on
                call = stub.Sample(asked, timeout=60)
                await call.read()
                call.cancel()
            case "kill":  # the connection goes without a word
                async with grpc.aio.insecure_channel(address) as channel:
                    call = prior_pb2_grpc.PriorServiceStub(channel).Sample(asked, timeout=60)
                    await call.read()
                    await channel.close(grace=None)


async def storm(address: str, space: str, count: int, seed: int) -> None:
    """``count`` requests, some at once, their fates drawn from ``seed``."""
    chance, room = random.Random(seed), asyncio.Semaphore(AT_ONCE)

    async def one(fate: str, number: int, stub: prior_pb2_grpc.PriorServiceAsyncStub) -> None:
        async with room:
            await meet(fate, address, stub, space, number)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = prior_pb2_grpc.PriorServiceStub(channel)
        await asyncio.gather(*(one(chance.choice(FATES), number, stub) for number in range(count)))


def client_that_dies(address: str, space: str) -> None:
    """A process that opens streams and waits for its end."""
    channel = grpc.insecure_channel(address)
    stub = prior_pb2_grpc.PriorServiceStub(channel)
    streams = [stub.Sample(request(space, number, 1000)) for number in range(8)]
    for stream in streams:
        next(stream)
    print("watching", flush=True)
    time.sleep(600)


def killed_client(address: str, space: str) -> None:
    """Opens streams from a process of their own and kills it in the middle."""
    code = f"from tests.e2e.test_state_cleanup import client_that_dies as c; c({address!r}, {space!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"watching\n"
    process.kill()
    process.wait()
    process.stdout.close()


def growth(process: Process, metrics: Metrics, space: str) -> int:
    """Bytes by which the service has grown after a storm, every gauge having returned to zero."""
    asyncio.run(storm(process.address(), space, REQUESTS // 4, seed=1))  # caches and pools fill
    before = process.memory()
    asyncio.run(storm(process.address(), space, REQUESTS, seed=2))
    killed_client(process.address(), space)
    end = time.monotonic() + 20
    while any(map(metrics.known, GAUGES)) and time.monotonic() < end:
        time.sleep(0.1)
    assert [metrics.known(gauge) for gauge in GAUGES] == [0, 0, 0]
    return process.memory() - before


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("module", "leaks"), [("prior_svc", False), ("tests.e2e.leaking_prior", True)])
def test_nothing_is_left_of_two_thousand_requests(
    tiny_checkpoint: Path, tmp_path: Path, module: str, leaks: bool
) -> None:
    space = Checkpoint.open(tiny_checkpoint).clip_space
    with running(module, tiny_checkpoint, tmp_path) as (process, metrics):
        assert (growth(process, metrics, space) > GROWTH_LIMIT) == leaks
