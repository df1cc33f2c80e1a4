"""storm: ten thousand requests, most of which are cancelled, come with deadlines too short, or lose their client. When
it is over nothing is left of them: no place in a stage, no call at the gateway, no memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time

import grpc

from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.report import Finding, Setting
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc

REQUESTS, REQUESTS_SHORT, AT_ONCE = 10_000, 400, 64
DEAD_CLIENTS = 4
PLACES = ("unclip_rows_running", "unclip_queue_depth")
GROWTH_LIMIT = 100 * 2**20
FATES = ("ok", "cancel", "leave", "deadline", "hang up")
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(
    STAGES, ("--base-size", "16", "--final-size", "32", "--step-seconds", "0.002")
)


async def run(setting: Setting) -> Finding:
    """Stubbed stages, one replica each."""
    requests = REQUESTS_SHORT if setting.short else REQUESTS
    finding = Finding(f"{requests} requests with random cancels, deadlines and dead clients")
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 1, "upsampler": 1, "gateway": 1}
    with cluster(setting.folder, counts, stubs=STUBS) as running:
        [gateway] = running.of("gateway")
        address = f"{gateway.address}:{running.ports['gateway']}"
        await storm(address, requests // 5, 1)  # pools and caches fill
        before = {replica.role: replica.process.memory() for replica in running.replicas}
        await storm(address, requests, 2)
        await asyncio.to_thread(die, address)
        left = await asyncio.to_thread(leftovers, running)
        growth = {replica.role: replica.process.memory() - before[replica.role] for replica in running.replicas}
    finding.claim(f"{left:.0f} calls and places left", left == 0)
    most = max(growth, key=lambda role: growth[role])
    finding.claim(f"memory grew by at most {growth[most] / 2**20:.1f} MiB ({most})", growth[most] <= GROWTH_LIMIT)
    return finding


def leftovers(running: Cluster) -> float:
    """Calls that the gateway still has, and samples that stages still hold, once they had time to let go."""
    left, end = 1.0, time.monotonic() + 20
    while left and time.monotonic() < end:
        time.sleep(0.2)
        left = sum(one.metrics.known("rpc_server_active_requests") for one in running.replicas)
        stages = [one for one in running.replicas if one.role != "gateway"]
        left += sum(one.metrics.known(gauge) for one in stages for gauge in PLACES)
    return left


async def storm(address: str, requests: int, seed: int) -> None:
    """``requests`` of them, some at once, their fates drawn from ``seed``."""
    chance, room = random.Random(seed), asyncio.Semaphore(AT_ONCE)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)

        async def one(fate: str, number: int) -> None:
            async with room:
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                    await meet(fate, stub, address, number)

        await asyncio.gather(*(one(chance.choice(FATES), number) for number in range(requests)))


async def meet(fate: str, stub: gateway_pb2_grpc.GatewayServiceAsyncStub, address: str, number: int) -> None:
    """One request, and what becomes of it."""
    asked = request(number)
    match fate:
        case "ok":
            async for _ in stub.Stream(asked, timeout=60):
                pass
        case "deadline":
            await stub.Generate(asked.generate, timeout=0.005 + number % 10 / 200)
        case "cancel":
            call = stub.Generate(asked.generate, timeout=60)
            await asyncio.sleep(number % 10 / 200)
            call.cancel()
        case "leave":  # the first step is read, then nobody reads on
            stream = stub.Stream(asked, timeout=60)
            await stream.read()
            stream.cancel()
        case "hang up":  # the connection goes without a word
            async with grpc.aio.insecure_channel(address) as channel:
                stream = gateway_pb2_grpc.GatewayServiceStub(channel).Stream(asked, timeout=60)
                await stream.read()
                await channel.close(grace=None)


def request(number: int) -> gateway_pb2.StreamRequest:
    """A Generate of one to three pictures."""
    asked = gateway_pb2.GenerateRequest(caption="a storm", seed=number, image_count=1 + number % 3)
    return gateway_pb2.StreamRequest(generate=asked)


def die(address: str) -> None:
    """Processes that watch streams are killed in the middle."""
    code = f"from tests.drill.storm import watch; watch({address!r})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(DEAD_CLIENTS)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"watching\n"
        process.kill()
        process.wait()
        process.stdout.close()


def watch(address: str) -> None:
    """What such a process does until it is killed."""
    stub = gateway_pb2_grpc.GatewayServiceStub(grpc.insecure_channel(address))
    streams = []
    for number in range(8):
        asked = request(number)
        asked.generate.decoder.steps = 100
        streams.append(stub.Stream(asked))
    for stream in streams:
        next(stream)
    print("watching", flush=True)
    time.sleep(600)
