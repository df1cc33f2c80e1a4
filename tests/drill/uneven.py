"""uneven: one decoder is four times as slow as the other. Weighted by the load that replicas report, the quick one gets
most calls; in turn, which is the default, each gets half."""

from __future__ import annotations

import asyncio

from tests.drill.cluster import DECODE, STAGES, Cluster, Role, cluster
from tests.drill.load import calling, percentile
from tests.drill.report import Finding, Setting

RATE, SETTLED_S, SECONDS, SECONDS_SHORT = 5.0, 8.0, 30.0, 10.0
QUICK_S, SLOW_S = 0.1, 0.4  # a step; a picture has 8
MOST = 0.65  # of all calls; four to one would be 0.8
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(STAGES, ("--base-size", "16", "--final-size", "32"))


async def run(setting: Setting) -> Finding:
    """Short: without the round in turn."""
    finding = Finding("decoders of uneven speed, weighted by their load reports")
    weighted, slowest = await round_of("weighted_round_robin", setting)
    finding.claim(f"weighted: the quick one made {weighted:.2f} of all, p95 {slowest:.2f} s", weighted >= MOST)
    if not setting.short:
        turns, slowest = await round_of("round_robin", setting)
        finding.claim(f"in turn: {turns:.2f} of all, p95 {slowest:.2f} s", turns < MOST)
    return finding


async def round_of(balancing: str, setting: Setting) -> tuple[float, float]:
    """(share of the quick decoder, seconds that 95 of 100 calls stay below)."""
    counts: dict[Role, int] = dict.fromkeys(STAGES, 1)
    stubs = {**STUBS, "decoder": slow(QUICK_S)}
    options: dict[Role, tuple[str, ...]] = {"gateway": ("--balancing", balancing)}
    with cluster(setting.folder, counts, stubs=stubs, options=options) as running:
        running.stubs = {**STUBS, "decoder": slow(SLOW_S)}
        running.admit(running.launch("decoder"))
        running.admit(running.launch("gateway"))
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            await asyncio.sleep(SETTLED_S)
            before, ended = await made(running), len(load.ended)
            await asyncio.sleep(SECONDS_SHORT if setting.short else SECONDS)
            after = await made(running)
            seconds = [outcome.seconds for outcome in load.ended[ended:]]
    quick, others = (now - then for now, then in zip(after, before, strict=True))
    return quick / max(1.0, quick + others), percentile(seconds, 0.95)


def slow(step: float) -> tuple[str, ...]:
    """Options of a decoder whose steps take so many seconds."""
    return (*STUBS["decoder"], "--step-seconds", str(step), "--capacity", "16")


async def made(running: Cluster) -> list[float]:
    """Pictures that each decoder has made."""
    return [await asyncio.to_thread(replica.calls, DECODE, "OK") for replica in running.of("decoder")]
