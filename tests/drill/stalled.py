"""stalled: clients without a deadline watch streams and never take an answer. Their calls end when the gateway's
longest deadline is over, what waits for them is bounded, and who reads is served beside them."""

from __future__ import annotations

import asyncio
import time

from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.load import calling, percentile
from tests.drill.report import Finding, Setting
from tests.stalled_client import StalledClient
from unclip.api.gateway.v1 import gateway_pb2

STREAM = "unclip.api.gateway.v1.GatewayService/Stream"
STREAMS, CLIENTS, PICTURES = 40, 4, 16
LONGEST_S, LONGEST_SHORT_S, LATE_S = 10.0, 4.0, 3.0
RATE, QUIET_S = 4.0, 10.0
GROWTH_LIMIT = 450 * 2**20  # the budget of 256 MiB, and what making pictures takes


async def run(setting: Setting) -> Finding:
    """Stubbed stages; pictures of 256 px, then of 1024 px, short: of 256 px."""
    longest = LONGEST_SHORT_S if setting.short else LONGEST_S
    finding = Finding(f"{STREAMS} streams of {PICTURES} pictures that nobody reads")
    for side in (256,) if setting.short else (256, 1024):
        folder = setting.folder / str(side)
        folder.mkdir()
        await round_of(side, longest, finding, Setting(setting.short, folder, setting.checkpoint))
    return finding


async def round_of(side: int, longest: float, finding: Finding, setting: Setting) -> None:
    """With pictures of one size."""
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 1, "upsampler": 1, "gateway": 1}
    sizes = ("--base-size", "64", "--final-size", str(side), "--step-seconds", "0.01", "--steps", "4")
    stubs: dict[Role, tuple[str, ...]] = dict.fromkeys(STAGES, (*sizes, "--capacity", "4096"))
    options: dict[Role, tuple[str, ...]] = {
        "gateway": ("--max-deadline", str(longest), "--default-deadline", str(longest))
    }
    with cluster(setting.folder, counts, stubs=stubs, options=options) as running:
        [gateway] = running.of("gateway")
        address = f"{gateway.address}:{running.ports['gateway']}"
        async with calling(running.target("gateway")) as quiet, quiet.flowing(RATE):
            await asyncio.sleep(QUIET_S / 2 if setting.short else QUIET_S)
        before = gateway.process.memory()
        async with calling(running.target("gateway")) as beside, beside.flowing(RATE):
            began = time.monotonic()
            most = await stall(address, longest, running)
            ended = time.monotonic() - began
        left = await asyncio.to_thread(gateway.metrics.known, "rpc_server_active_requests", rpc_method=STREAM)
    kept = (max(most) - before) / 2**20
    held = left == 0 and ended <= longest + LATE_S
    finding.claim(f"{side} px: {left:.0f} calls left {ended - longest:.1f} s after the longest deadline", held)
    finding.claim(f"memory grew by at most {kept:.0f} MiB", max(most) - before <= GROWTH_LIMIT)
    slow, usual = (percentile([o.seconds for o in load.ended], 0.99) for load in (beside, quiet))
    finding.claim(f"{len(beside.failures)} of {len(beside.ended)} calls of others failed", not beside.failures)
    pictures = STREAMS * PICTURES
    finding.told(f"their p99 beside {pictures} pictures in the making {slow:.2f} s, quiet {usual:.2f} s")


async def stall(address: str, longest: float, running: Cluster) -> list[int]:
    """Bytes of the gateway's memory while streams nobody reads are there, until the last has ended."""
    request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", image_count=PICTURES))
    [gateway] = running.of("gateway")
    clients = [StalledClient(address, f"stalled-{number}") for number in range(CLIENTS)]
    for client in clients:
        await client.__aenter__()
    memory, end = [gateway.process.memory()], time.monotonic() + longest + LATE_S
    try:
        for number in range(STREAMS):
            clients[number % CLIENTS].call(f"/{STREAM}", request.SerializeToString())
        begun = False
        while time.monotonic() < end:
            await asyncio.sleep(0.1)
            memory.append(gateway.process.memory())
            there = await asyncio.to_thread(gateway.metrics.total, "rpc_server_active_requests", rpc_method=STREAM)
            begun = begun or there > 0
            if begun and there == 0:
                break
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
    return memory
