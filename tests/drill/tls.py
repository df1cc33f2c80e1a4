"""tls: a cluster that speaks plaintext is switched to TLS under load, and from one CA to another; nobody notices.

As docs/deploy.md has it: all pods are replaced by such as take callers with and without TLS and call each other over
it, in whatever order they come; callers move; all pods are replaced by such as take TLS alone. Then everybody trusts
both CAs, has certificates by the second, and trusts that one alone, without a restart.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from tests.certificates import Authority, presented, put
from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.load import Load, calling
from tests.drill.report import Finding, Setting
from unclip import Tls

RATE = 8.0
COUNTS: dict[Role, int] = dict.fromkeys((*STAGES, "gateway"), 2)
COUNTS_SHORT: dict[Role, int] = {**dict.fromkeys(STAGES, 1), "gateway": 2}
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(
    STAGES, ("--step-seconds", "0.01", "--base-size", "16", "--final-size", "32")
)
GATEWAY = "spiffe://unclip/gateway"
ENOUGH = 500  # calls
READY_S = 6.0  # as rollout.minReadySeconds: until callers have asked the names again


class Files:
    """The files that all services are told of, whoever signed what is in them."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = Authority(folder, "old"), Authority(folder, "new")
        self.trust = folder / "trust.pem"
        self.trusting(self.old)
        self.issue(self.old)

    def trusting(self, *authorities: Authority) -> None:
        """Everybody trusts these from now on."""
        put(self.trust, b"".join(authority.ca.read_bytes() for authority in authorities))

    def issue(self, authority: Authority) -> None:
        """Certificates for stages and gateways, by this one."""
        names = tuple(f"{role}.drill" for role in (*STAGES, "gateway"))
        self.stage = authority.issue("stage", dns=names)
        self.gateway = authority.issue("gateway", GATEWAY, dns=names)

    def options(self, mode: str) -> dict[Role, tuple[str, ...]]:
        """What services are told."""
        stage, gateway = (
            ("--tls-cert", str(own.cert), "--tls-key", str(own.key), "--tls-mode", mode)
            for own in (self.stage, self.gateway)
        )
        checked = ("--tls-ca", str(self.trust), "--allowed-identities", GATEWAY)
        shown = ("--stage-tls-cert", str(self.gateway.cert), "--stage-tls-key", str(self.gateway.key))
        return {
            **dict.fromkeys(STAGES, (*stage, *checked)),
            "gateway": (*gateway, "--stage-tls-ca", str(self.trust), *shown),
        }


async def run(setting: Setting) -> Finding:
    """Short: one replica of each stage, and fewer calls."""
    finding, files = Finding("TLS switched on under load, and one CA replaced by another"), Files(setting.folder)
    tls, pause = Tls(str(files.trust)), 1.0 if setting.short else 5.0
    with cluster(setting.folder, COUNTS_SHORT if setting.short else COUNTS, stubs=STUBS) as running:
        target, statuses = running.target("gateway"), list[int]()
        async with calling(target) as plain, calling(target, tls=tls) as secured:
            async with plain.flowing(RATE):
                await asyncio.sleep(pause)
                statuses += await replaced(running, files.options("permissive"))
                async with secured.flowing(RATE):
                    await asyncio.sleep(pause)
            async with secured.flowing(RATE):
                statuses += await replaced(running, files.options("strict"))
                stranger = await refused(target)
                shown = await rotated(running, files, pause)
    calls, failures = counted(plain, secured)
    finding.claim(
        f"{failures} of {calls} calls failed ({told(plain)} without TLS, {told(secured)} with it)", not failures
    )
    finding.claim(f"{calls} calls, {len(plain.ended)} of them without TLS", setting.short or calls >= ENOUGH)
    finding.claim(f"{len(statuses)} replicas replaced, all exited 0", set(statuses) == {0})
    finding.claim(f"without TLS afterwards: {stranger}", stranger == "UNAVAILABLE")
    finding.claim(f"replicas that showed the old CA's, the new CA's and only that: {shown}", all(shown))
    return finding


async def replaced(running: Cluster, options: dict[Role, tuple[str, ...]]) -> list[int]:
    """Every service at once by replicas of these options, as one upgrade of a release has it; their exit statuses."""
    running.options = options
    ended = await asyncio.gather(*(replace(running, role) for role in (*STAGES, "gateway")))
    return [status for statuses in ended for status in statuses]


async def replace(running: Cluster, role: Role) -> list[int]:
    """A new replica for every old one: it comes first, and is found, then the old one is told to go."""
    statuses = []
    for old in running.of(role):
        new = running.launch(role)
        await asyncio.to_thread(running.admit, new)
        await asyncio.sleep(READY_S)
        statuses += await asyncio.to_thread(running.retire, old)
    return statuses


async def refused(target: str) -> str:
    """How a call without TLS ends."""
    async with calling(target) as caller:
        return (await caller.one(1)).code


async def rotated(running: Cluster, files: Files, pause: float) -> tuple[bool, bool, bool]:
    """From one CA to the other; whether all replicas showed the old one's certificates, then the new one's, and were
    known by the old one no more."""
    before = await asyncio.to_thread(all_show, running, files, files.old)
    files.trusting(files.old, files.new)
    await asyncio.sleep(pause)
    files.issue(files.new)
    await asyncio.sleep(pause)
    files.trusting(files.new)
    await asyncio.sleep(pause)
    after = await asyncio.to_thread(all_show, running, files, files.new)
    return before, after, not await asyncio.to_thread(all_show, running, files, files.old)


def all_show(running: Cluster, files: Files, authority: Authority) -> bool:
    """Whether every replica shows the certificate that is in its file, and ``authority`` knows it."""
    try:
        return all(
            presented(f"{replica.address}:{running.ports[replica.role]}", authority, f"{replica.role}.drill")
            == (files.gateway if replica.role == "gateway" else files.stage).serial
            for replica in running.replicas
        )
    except ssl.SSLError:
        return False


def counted(*loads: Load) -> tuple[int, int]:
    """Calls, and those that failed."""
    return sum(len(load.ended) for load in loads), sum(len(load.failures) for load in loads)


def told(load: Load) -> str:
    """As `Load.told`, or that there were none."""
    return load.told() or "none"
