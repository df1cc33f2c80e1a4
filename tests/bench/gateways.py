"""1, 2 and 4 gateways in front of 64 stub decoders; part of the benchmark ``scale``.

A gateway knows of no other: what could keep many from carrying in proportion is what they share, the decoders, and
callers that favour one. On two cores four gateways at full load would show the machine and not them, and CPU time
itself grows where the cores are busier. So gateways that share 64 decoders are compared with as many that have 64
each and share nothing, at the same pictures a second, which the machine has room for: cost of a picture in CPU time
apart / shared is how nearly several carry in proportion. Beside it: how evenly callers' ``round_robin`` spreads
pictures over gateways, and what one costs that has nothing to do. What is not shown: several gateways at full load,
on machines of their own.
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


def run(options: Options) -> Report:
    """These rows alone."""
    report = Report("gateways")
    measure(options, report)
    return report


def measure(options: Options, report: Report) -> None:
    """Adds a row for each number of gateways, and the figures."""
    counts, decoders = (QUICK_COUNTS, QUICK_DECODERS) if options.quick else (COUNTS, DECODERS)
    seconds, idle = (2.0, 1.0) if options.quick else (SECONDS, IDLE_S)
    picture = QUICK_PICTURE_S if options.quick else PICTURE_S
    rows = []
    for count in counts:
        for apart in (True, False) if count > 1 else (False,):
            sets = count if apart else 1
            told = ["--replicas", str(sets * decoders), "--seconds", str(picture), "--capacity", str(CAPACITY)]
            # As many for each gateway, whatever their number: with the most of them the decoders are all busy.
            callers = count * decoders * CAPACITY // counts[-1]
            with ExitStack() as running:
                stubs = running.enter_context(
                    Process("tests.bench.replicas", [*told, "--size", "64"], options.scratch, "many")
                )
                *addresses, others = stubs.address().split()
                gateways = []
                for number in range(count):
                    own = addresses[number % sets :: sets]
                    targets = dict.fromkeys(("encoder", "prior", "upsampler"), others)
                    targets["decoder"] = "ipv4:" + ",".join(own)
                    words = [word for role, target in targets.items() for word in (f"--{role}", target)]
                    words += ["--log-level", "WARNING"]
                    gateways.append(
                        running.enter_context(Process("gateway", words, options.scratch, f"gateway-{number}"))
                    )
                found = asyncio.run(observed(gateways, callers, picture, seconds, idle))
            rows.append({"gateways": count, "decoders": "of its own" if apart else "shared", **found})
    report.rows.extend(rows)
    for alone, row in zip(rows[1::2], rows[2::2], strict=True):
        linear = float(str(alone["gateways_ms"])) / float(str(row["gateways_ms"]))
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
