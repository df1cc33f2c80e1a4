"""overload: ten times what the decoders can do, for a minute. They go on at capacity, whoever is refused hears it at
once, and when it is over everybody is served again."""

from __future__ import annotations

import asyncio
import time

import grpc

from tests.drill.cluster import STAGES, Role, cluster
from tests.drill.load import Load, percentile
from tests.drill.report import Finding, Setting
from unclip.api.gateway.v1 import gateway_pb2_grpc

DECODERS, PLACES, PICTURE_S = 2, 4, 1.0
CAPACITY = DECODERS * PLACES / PICTURE_S  # pictures a second
TIMES = 10
SECONDS, SECONDS_SHORT, SETTLED_S = 60.0, 12.0, 3.0
GOODPUT, REFUSAL_S, RECOVERY_S = 0.9, 0.05, 5.0
STUBS: dict[Role, tuple[str, ...]] = dict.fromkeys(
    STAGES, ("--base-size", "16", "--final-size", "32", "--step-seconds", "0", "--capacity", "4096")
)
STUBS["decoder"] = (
    *("--base-size", "16", "--final-size", "32", "--step-seconds", str(PICTURE_S / 8)),
    *("--capacity", str(PLACES), "--queue-limit", "16"),
)


async def run(setting: Setting) -> Finding:
    """Two decoders with four places each; callers retry nothing."""
    finding = Finding("ten times overload")
    seconds = SECONDS_SHORT if setting.short else SECONDS
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": DECODERS, "upsampler": 1, "gateway": 1}
    with cluster(setting.folder, counts, stubs=STUBS) as running:
        [gateway] = running.of("gateway")
        address = f"{gateway.address}:{running.ports['gateway']}"
        async with grpc.aio.insecure_channel(address, options=(("grpc.enable_retries", 0),)) as channel:
            load = Load(gateway_pb2_grpc.GatewayServiceStub(channel))
            began = time.monotonic()
            async with load.flowing(TIMES * CAPACITY):
                await asyncio.sleep(SETTLED_S + seconds)
                ended = time.monotonic()
            settled = began + SETTLED_S
            good = sum(o.code == "OK" and settled <= o.ended < ended for o in load.ended) / (ended - settled) / CAPACITY
            refused = [o for o in load.ended if o.code == "RESOURCE_EXHAUSTED" and o.sent >= settled]
            other = [o for o in load.ended if o.code not in ("OK", "RESOURCE_EXHAUSTED")]
            after = Load(load.stub)
            over = time.monotonic()  # every call of the overload has ended: the queues are empty or nearly so
            async with after.flowing(CAPACITY / 2):
                await asyncio.sleep(RECOVERY_S + (1 if setting.short else 5))
    finding.claim(f"goodput {good:.2f} of capacity over {seconds:.0f} s", good >= GOODPUT)
    middle, slow = (percentile([o.seconds for o in refused], share) for share in (0.5, 0.99))
    told = f"{len(refused)} refusals, median {1000 * middle:.0f} ms, p99 {1000 * slow:.0f} ms"
    # In the suite, beside which the machine may do other things, half of them.
    finding.claim(told, bool(refused) and (middle if setting.short else slow) <= REFUSAL_S)
    finding.claim(f"{len(other)} other failures", not other)
    late = [o for o in after.ended if o.code != "OK" or o.seconds > 2 * PICTURE_S]
    last = max((o.sent - over for o in late), default=0.0)
    finding.claim(f"recovered after {last:.1f} s", last <= RECOVERY_S)
    return finding
