"""rolling: every replica of every service is replaced, one by one, under open load. No call may fail."""

from __future__ import annotations

import asyncio

from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.load import calling, percentile
from tests.drill.report import Finding, Setting

RATE = 8.0
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(
    STAGES, ("--step-seconds", "0.02", "--base-size", "16", "--final-size", "32")
)


async def run(setting: Setting) -> Finding:
    """Short: a round in which all services are replaced at the same time; otherwise service by service."""
    finding = Finding("rolling restart of every service under open load")
    roles: tuple[Role, ...] = (*STAGES, "gateway")
    with cluster(setting.folder, dict.fromkeys(roles, 2), stubs=STUBS) as running:
        statuses: list[int] = []
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            await asyncio.sleep(2)
            if setting.short:
                for ended in await asyncio.gather(*(replace(running, role) for role in roles)):
                    statuses += ended
            else:
                for role in roles:
                    statuses += await replace(running, role)
            await asyncio.sleep(2)
        finding.claim(f"{len(load.failures)} of {len(load.ended)} calls failed ({load.told()})", not load.failures)
        finding.claim(f"{len(statuses)} replicas replaced, all exited 0", set(statuses) == {0} and len(statuses) == 10)
        finding.told(f"p99 {percentile([o.seconds for o in load.ended], 0.99):.2f} s")
    return finding


async def replace(running: Cluster, role: Role) -> list[int]:
    """A new replica for every old one: it comes first, then the old one is told to go."""
    statuses = []
    for old in running.of(role):
        new = running.launch(role)
        await asyncio.to_thread(running.admit, new)
        statuses += await asyncio.to_thread(running.retire, old)
    return statuses
