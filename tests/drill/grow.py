"""grow: decoders go from 1 to 8 and down to 2 under load. New ones get calls within 10 s, and no call fails."""

from __future__ import annotations

import asyncio

from tests.drill.cluster import DECODE, STAGES, Role, cluster
from tests.drill.load import calling
from tests.drill.report import Finding, Setting

RATE = 12.0
USED_S = 10.0
MOST, MOST_SHORT, LEFT = 8, 3, 2
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(STAGES, ("--base-size", "16", "--final-size", "32"))
STUBS["decoder"] += ("--step-seconds", "0.05", "--capacity", "8")


async def run(setting: Setting) -> Finding:
    """Short: up to 3."""
    most = MOST_SHORT if setting.short else MOST
    finding = Finding(f"decoders 1 -> {most} -> {LEFT} under load")
    with cluster(setting.folder, dict.fromkeys((*STAGES, "gateway"), 1), stubs=STUBS) as running:
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            await asyncio.sleep(2)
            new = [running.launch("decoder") for _ in range(most - 1)]
            await asyncio.gather(*(asyncio.to_thread(one.process.address) for one in new))
            running.admit(*new)
            waits = await asyncio.gather(*(asyncio.to_thread(one.seconds_until, DECODE, 0, 4 * USED_S) for one in new))
            await asyncio.sleep(2)
            going = running.of("decoder")[: most - LEFT]
            statuses = await asyncio.to_thread(running.retire, *going)
            await asyncio.sleep(3)
    finding.claim(f"the last new one was used after {max(waits):.1f} s", max(waits) <= USED_S)
    finding.claim(f"{len(load.failures)} of {len(load.ended)} calls failed ({load.told()})", not load.failures)
    finding.claim(f"{len(statuses)} left with status 0", set(statuses) == {0})
    return finding
