"""sick: a decoder answers every call with an error, at once, which makes it look idle. Its calls are made up for by
others, and soon it gets hardly any."""

from __future__ import annotations

import asyncio

from tests.drill.cluster import DECODE, STAGES, Role, cluster
from tests.drill.load import calling
from tests.drill.report import Finding, Setting

RATE, SECONDS, SECONDS_SHORT = 10.0, 30.0, 10.0
NOTICED_S = 6.0  # gRFC A50's interval is 5 s
SHARE = 0.1  # of all calls, where a third would be its due
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(
    STAGES, ("--base-size", "16", "--final-size", "32", "--step-seconds", "0.01")
)


async def run(setting: Setting) -> Finding:
    """Three decoders; one of them fails."""
    finding = Finding("a decoder that fails every call")
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 2, "upsampler": 1, "gateway": 1}
    with cluster(setting.folder, counts, stubs=STUBS) as running:
        running.stubs = {**STUBS, "decoder": (*STUBS["decoder"], "--fail", "1000000")}
        sick = running.launch("decoder")
        running.admit(sick)
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            asked, patience = 0.0, 40
            while not asked and patience:  # until the gateway has found it
                await asyncio.sleep(0.5)
                asked, patience = await asyncio.to_thread(sick.calls, DECODE, "UNAVAILABLE"), patience - 1
            await asyncio.sleep(NOTICED_S)
            before, served = await asyncio.to_thread(sick.calls, DECODE, "UNAVAILABLE"), len(load.ended)
            await asyncio.sleep(SECONDS_SHORT if setting.short else SECONDS)
            after, served = await asyncio.to_thread(sick.calls, DECODE, "UNAVAILABLE"), len(load.ended) - served
    finding.claim(f"{len(load.failures)} of {len(load.ended)} calls failed ({load.told()})", not load.failures)
    finding.claim(f"it was asked {before:.0f} times until it was noticed", before > 0)
    finding.claim(
        f"then {after - before:.0f} times while {served} pictures were made", after - before <= SHARE * served
    )
    return finding
