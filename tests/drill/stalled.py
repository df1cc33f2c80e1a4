"""stalled: clients without a deadline watch streams and never take an answer. Their calls end when the gateway's
longest deadline is over, what waits for them is bounded, and who reads is served beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.drill.cluster import STAGES, Cluster, Replica, Role, cluster
from tests.drill.load import calling, percentile
from tests.drill.report import Finding, Setting
from tests.stalled_client import StalledClient
from unclip.api.gateway.v1 import gateway_pb2

STREAM = "unclip.api.gateway.v1.GatewayService/Stream"
STREAMS, STREAMS_SHORT, CLIENTS, PICTURES = 40, 8, 4, 4
LONGEST_S, LONGEST_SHORT_S, LATE_S = 30.0, 5.0, 5.0
RATE, QUIET_S, QUIET_SHORT_S = 4.0, 10.0, 2.0
IDLE = 5  # looks in a row that found nothing to do
GROWTH_LIMIT = 450 * 2**20  # the budget of 256 MiB, and what making pictures takes


async def run(setting: Setting) -> Finding:
    """Stubbed stages; pictures of 256 px, then of 1024 px, short: of 256 px."""
    longest = LONGEST_SHORT_S if setting.short else LONGEST_S
    streams = STREAMS_SHORT if setting.short else STREAMS
    finding = Finding(f"{streams} streams of {PICTURES} pictures that nobody reads")
    for side in (256,) if setting.short else (256, 1024):
        folder = setting.folder / str(side)
        folder.mkdir()
        await round_of(side, streams, longest, finding, Setting(setting.short, folder, setting.checkpoint))
    return finding


async def round_of(side: int, streams: int, longest: float, finding: Finding, setting: Setting) -> None:
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
            await asyncio.sleep(QUIET_SHORT_S if setting.short else QUIET_S)
        memory = [gateway.process.memory()]
        async with stalled(address, streams) as begun:
            await asyncio.to_thread(made, running, begun + longest / 2)
            # From now on the stages have nothing to do but for those who read.
            async with calling(running.target("gateway")) as beside, beside.flowing(RATE):
                left, late = 1.0, 0.0
                while left and (late := time.monotonic() - begun - longest) < LATE_S:
                    await asyncio.sleep(0.1)
                    memory.append(gateway.process.memory())
                    left = await asyncio.to_thread(watched, gateway)
    finding.claim(f"{side} px: {left:.0f} calls left {late:.1f} s after the longest deadline", left == 0)
    grown = max(memory) - memory[0]
    finding.claim(f"memory grew by at most {grown / 2**20:.0f} MiB", grown <= GROWTH_LIMIT)
    slow, usual = (percentile([o.seconds for o in load.ended], 0.99) for load in (beside, quiet))
    finding.claim(f"{len(beside.failures)} of {len(beside.ended)} calls of others failed", not beside.failures)
    finding.told(f"their p99 {slow:.2f} s, without the streams {usual:.2f} s")


@asynccontextmanager
async def stalled(address: str, streams: int) -> AsyncIterator[float]:
    """Streams of a few clients who take nothing, there while the body runs. Gives when they were begun."""
    request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat", image_count=PICTURES))
    async with AsyncExitStack() as exits:
        made = [StalledClient(address, f"stalled-{number}") for number in range(CLIENTS)]
        clients = [await exits.enter_async_context(client) for client in made]
        for number in range(streams):
            clients[number % CLIENTS].call(f"/{STREAM}", request.SerializeToString())
        yield time.monotonic()


def made(running: Cluster, until: float) -> None:
    """Waits until the stages have made what was asked of them, or it is ``until``, `time.monotonic` seconds."""
    stages = [one for one in running.replicas if one.role in ("decoder", "upsampler")]
    idle = 0
    while idle < IDLE and time.monotonic() < until:
        time.sleep(0.1)
        idle = 0 if any(one.metrics.known("unclip_rows_running") for one in stages) else idle + 1


def watched(gateway: Replica) -> float:
    """Streams that the gateway still has."""
    return gateway.metrics.total("rpc_server_active_requests", rpc_method=STREAM)
