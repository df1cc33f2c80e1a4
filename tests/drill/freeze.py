"""freeze: a decoder is stopped with SIGSTOP, as a stuck driver or a swapping node would: its connections stay open and
say nothing. Its calls move to other replicas within 10 s, and it is used again once it goes on."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.drill.cluster import DECODE, STAGES, Replica, Role, cluster
from tests.drill.load import calling
from tests.drill.report import Finding, Setting

RATE = 6.0
FROZEN_S, FROZEN_SHORT_S = 30.0, 12.0
MOVED_S, REJOINED_S = 10.0, 45.0  # the latter with the 30 s for which outlier detection may leave it out
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(STAGES, ("--base-size", "16", "--final-size", "32"))
STUBS["decoder"] += ("--step-seconds", "0.05")  # 0.4 s a picture


async def run(setting: Setting) -> Finding:
    """Three decoders, one of which is frozen."""
    finding = Finding("SIGSTOP of a decoder")
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 3, "upsampler": 1, "gateway": 1}
    with cluster(setting.folder, counts, stubs=STUBS) as running:
        victim = running.of("decoder")[0]
        async with calling(running.target("gateway")) as load, load.flowing(RATE):
            await asyncio.sleep(3)
            usual = max(outcome.seconds for outcome in load.ended)
            victim.process.send_signal(signal.SIGSTOP)
            frozen = time.monotonic()
            await asyncio.sleep(FROZEN_SHORT_S if setting.short else FROZEN_S)
            victim.process.send_signal(signal.SIGCONT)
            rejoined = await seconds_to_rejoin(victim)
        delays = [outcome.seconds - usual for outcome in load.ended if outcome.ended > frozen]
        late = [o.sent - frozen for o in load.ended if o.seconds > usual + 1]
    finding.claim(f"{len(load.failures)} of {len(load.ended)} calls failed ({load.told()})", not load.failures)
    finding.claim(f"the slowest call took {max(delays):.1f} s more than usual", max(delays) <= MOVED_S)
    finding.told(f"the last call that it delayed came {max(late, default=0.0):.1f} s after the stop")
    finding.claim(f"it served again {rejoined:.1f} s after it went on", rejoined <= REJOINED_S)
    return finding


async def seconds_to_rejoin(replica: Replica) -> float:
    """How long until it ends a call that it got after now."""
    await asyncio.sleep(1)  # what it held when it stopped ends at once, broken off
    before = await asyncio.to_thread(replica.calls, DECODE, "OK")
    return 1 + await asyncio.to_thread(replica.seconds_until, DECODE, before, 2 * REJOINED_S)
