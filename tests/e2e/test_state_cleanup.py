"""Whatever becomes of two thousand requests, the service is empty afterwards: no row, no queue, no memory kept."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.tiny import CONTEXT, WIDTH
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.checkpoint import Checkpoint
from unclip.wire.embeddings import Embedding, TextEncoding

REQUESTS = 2000
AT_ONCE = 32
GROWTH_LIMIT = 100 * 1024 * 1024
FATES = ("ok", "ok", "cancel", "leave", "timeout", "bad", "kill")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running service: where it is, and what it says of itself."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, metrics: int) -> None:
        self.process, self.address, self._metrics = process, address, metrics

    def figures(self, *names: str) -> list[float]:
        page = urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10).read().decode()
        return [float(re.search(rf"^{name}\{{[^}}]*\}} (\S+)$", page, re.MULTILINE)[1]) for name in names]  # type: ignore[index]

    def resident(self) -> int:
        """Bytes of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def running(module: str, checkpoint: Path, folder: Path) -> Iterator[Server]:
    file, metrics = folder / f"{module}.address", free_port()
    command = [sys.executable, "-m", module, "--checkpoint", str(checkpoint), "--device", "cpu", "--threads", "1"]
    command += ["--address-file", str(file), "--metrics", f"127.0.0.1:{metrics}", "--log-level", "ERROR"]
    process = subprocess.Popen([*command, "--capacity", "8", "--queue-limit", "1024"], stderr=subprocess.DEVNULL)
    try:
        while not file.exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield Server(process, file.read_text().strip(), metrics)
    finally:
        process.kill()
        process.wait()


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


def growth(server: Server, space: str) -> int:
    """Bytes by which the service has grown after a storm, every gauge having returned to zero."""
    asyncio.run(storm(server.address, space, REQUESTS // 4, seed=1))  # caches and pools fill
    before = server.resident()
    asyncio.run(storm(server.address, space, REQUESTS, seed=2))
    killed_client(server.address, space)
    end = time.monotonic() + 20
    gauges = ("unclip_rows_running", "unclip_queue_depth", "unclip_saturation")
    while any(server.figures(*gauges)) and time.monotonic() < end:
        time.sleep(0.1)
    assert server.figures(*gauges) == [0, 0, 0]
    return server.resident() - before


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("module", "leaks"), [("prior_svc", False), ("tests.e2e.leaking_prior", True)])
def test_nothing_is_left_of_two_thousand_requests(
    tiny_checkpoint: Path, tmp_path: Path, module: str, leaks: bool
) -> None:
    space = Checkpoint.open(tiny_checkpoint).clip_space
    with running(module, tiny_checkpoint, tmp_path) as server:
        assert (growth(server, space) > GROWTH_LIMIT) == leaks
