"""1, 2 and 4 gateways in front of 64 stub decoders; part of the benchmark ``scale``.

A gateway knows of no other: what could keep many from carrying in proportion is work that each has for every replica
(connections, health, versions) and callers that favour one. On two cores four gateways at full load would show the
machine and not them. Measured is instead, at as many pictures a second for each gateway as the machine has room for
with four, what a picture costs in CPU time, how evenly callers' ``round_robin`` spreads pictures over them, and what
a gateway costs that has nothing to do. Cost with one gateway / cost with several is how nearly they carry in
proportion. What is not shown: several gateways at full load, on machines of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.bench.options import Options
from tests.bench.report import Report
from tests.bench.scale import CAPACITY, WARM_S, Callers, Tally
from tests.processes import Process

COUNTS, DECODERS, PICTURE_S, SECONDS = (1, 2, 4), 64, 5.0, 20.0
QUICK_COUNTS, QUICK_DECODERS, QUICK_PICTURE_S = (1, 2), 8, 1.0
IDLE_S = 10.0


def measure(options: Options, report: Report) -> None:
    """Adds a row for each number of gateways, and the figures."""
    counts, decoders = (QUICK_COUNTS, QUICK_DECODERS) if options.quick else (COUNTS, DECODERS)
    seconds, idle = (2.0, 1.0) if options.quick else (SECONDS, IDLE_S)
    picture = QUICK_PICTURE_S if options.quick else PICTURE_S
    told = ["--replicas", str(decoders), "--seconds", str(picture), "--capacity", str(CAPACITY), "--size", "64"]
    with Process("tests.bench.replicas", told, options.scratch, "many") as stubs:
        *addresses, others = stubs.address().split()
        targets = dict.fromkeys(("encoder", "prior", "upsampler"), others)
        targets["decoder"] = "ipv4:" + ",".join(addresses)
        words = [word for role, target in targets.items() for word in (f"--{role}", target)]
        rows = []
        for count in counts:
            with ExitStack() as running:
                gateways = [
                    running.enter_context(
                        Process("gateway", [*words, "--log-level", "WARNING"], options.scratch, f"gateway-{number}")
                    )
                    for number in range(count)
                ]
                # As many for each gateway, whatever their number: with the most of them the decoders are all busy.
                callers = count * decoders * CAPACITY // counts[-1]
                found = asyncio.run(observed(gateways, callers, picture, seconds, idle))
            rows.append({"gateways": count, "decoders": decoders, **found})
    report.rows.extend(rows)
    for row in rows[1:]:
        linear = float(str(rows[0]["gateways_ms"])) / float(str(row["gateways_ms"]))
        report.figure(f"linear_at_{row['gateways']}_gateways", linear, ">= 0.9")
        report.figure(f"least_share_at_{row['gateways']}_gateways", float(str(row["least_share"])), ">= 0.9")
    report.figure("idle_gateway_ms_a_second", float(str(rows[-1]["idle_ms"])))


async def observed(
    gateways: Sequence[Process], callers: int, picture: float, seconds: float, idle: float
) -> dict[str, object]:
    """CPU milliseconds a picture of all gateways together, and the least that one had of its fair share of them."""
    target = "ipv4:" + ",".join(gateway.address() for gateway in gateways)
    used = [gateway.cpu_seconds for gateway in gateways]
    await asyncio.sleep(idle)
    nothing = [1000 * (gateway.cpu_seconds - before) / idle for gateway, before in zip(gateways, used, strict=True)]
    asking, tally = Callers(target, callers), Tally()
    task = asyncio.create_task(asking.ask(tally, WARM_S + picture + seconds, streams=False))
    await asyncio.sleep(WARM_S + picture)
    began, used = time.monotonic(), [gateway.cpu_seconds for gateway in gateways]
    await asyncio.sleep(seconds)
    ended, now = time.monotonic(), [gateway.cpu_seconds for gateway in gateways]
    await task
    await asking.close()
    pictures = tally.arrived(began, ended)
    spent = [after - before for after, before in zip(now, used, strict=True)]
    return {
        "call": "Generate",
        "px": 64,
        "callers": callers,
        "pictures_s": round(pictures / (ended - began), 3),
        "gateways_ms": round(1000 * sum(spent) / max(pictures, 1), 2),
        "least_share": round(min(spent) * len(spent) / max(sum(spent), 1e-9), 3),
        "idle_ms": round(sum(nothing) / len(nothing), 2),
        "failed": len(tally.failures),
        "first_failure": tally.failures[0] if tally.failures else None,
    }
