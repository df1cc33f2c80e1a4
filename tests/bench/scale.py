"""scale: what a gateway carries. One gateway process, as people run it, in front of 1, 2, 4, 8 and 16 stub decoders.

A stub decoder takes 1 s for a picture, in 8 steps with progress, and has 4 under way at once: 4 pictures a second.
The other stages answer at once (``tests.bench.replicas``). The gateway finds the decoders by a target that lists them,
``ipv4:a:p,b:p``, and balances as it does over names. Callers ask for one picture at a time, twice as many as the
decoders can have under way, so that none is idle. Throughput counts pictures that arrive, against as many times that
of one decoder; gateway CPU is user and system time from /proc over the same seconds. Then 500 streams are held open
at once by 550 callers, each with a picture under way or waiting, who open another as one ends, for as long as the
throughput runs; a stream is lost when it ends without its picture. Callers retry nothing.

Then several gateways (`tests.bench.gateways`), and a day with a tenfold peak through the chart's autoscaling rule, in
simulation (`tests.bench.day`).

Pictures are 64 px, the embedded checkpoint's size, for throughput; one more row has Karlo's 256 px, where the PNG
file is the largest part of the gateway's work. Gateway, stubs and callers share the machine.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import grpc

from tests.bench.options import Options
from tests.bench.report import Report
from tests.processes import Process
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc

COUNTS, QUICK_COUNTS = (1, 2, 4, 8, 16), (1, 4)
CAPACITY = 4
STREAMS, PER_CHANNEL = 500, 125  # a server allows 256 streams on a connection
SPREAD_S, WARM_S, TIMEOUT_S = 1.0, 3.0, 60.0
NEVER = (
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
)


@dataclass
class Tally:
    """What callers saw. ended: when each picture arrived, `time.monotonic` seconds; open: streams that have told
    something and have not ended; told: how many were open, looked at ten times a second."""

    ended: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    open: int = 0
    told: list[tuple[float, int]] = field(default_factory=list)

    def arrived(self, begin: float, end: float) -> int:
        """Pictures that arrived in that time."""
        return sum(begin <= when < end for when in self.ended)

    def held(self, begin: float, end: float) -> int:
        """The fewest streams that were open at any look in that time."""
        return min((count for when, count in self.told if begin <= when < end), default=0)


class Callers:
    """Many callers of one gateway, each of which asks again as soon as it is answered."""

    def __init__(self, address: str, count: int) -> None:
        self._channels = [grpc.aio.insecure_channel(address, options=NEVER) for _ in range(-(-count // PER_CHANNEL))]
        self._count = count

    async def ask(self, tally: Tally, seconds: float, *, streams: bool) -> None:
        """Asks for ``seconds`` and writes into ``tally``; the callers start evenly within SPREAD_S."""
        end = time.monotonic() + seconds

        async def caller(number: int) -> None:
            await asyncio.sleep(SPREAD_S * number / self._count)
            stub = gateway_pb2_grpc.GatewayServiceStub(self._channels[number % len(self._channels)])
            request = gateway_pb2.GenerateRequest(caption="a red apple", seed=number)
            while time.monotonic() < end:
                try:
                    if streams:
                        await watch(stub, request, tally)
                    else:
                        await stub.Generate(request, timeout=TIMEOUT_S)
                        tally.ended.append(time.monotonic())
                except grpc.aio.AioRpcError as error:
                    tally.failures.append(f"{error.code().name}: {error.details()}")
                    await asyncio.sleep(0.1)

        async def look() -> None:
            while True:
                tally.told.append((time.monotonic(), tally.open))
                await asyncio.sleep(0.1)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(caller(number) for number in range(self._count)))
        looking.cancel()

    async def close(self) -> None:
        """Closes the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels))


async def watch(
    stub: gateway_pb2_grpc.GatewayServiceAsyncStub, request: gateway_pb2.GenerateRequest, tally: Tally
) -> None:
    """One stream, from its first message to its picture."""
    pictures, told = 0, False
    try:
        async for answer in stub.Stream(gateway_pb2.StreamRequest(generate=request), timeout=TIMEOUT_S):
            tally.open += not told
            told = True
            pictures += answer.HasField("image")
    finally:
        tally.open -= told
    if pictures == 1:
        tally.ended.append(time.monotonic())
    else:
        tally.failures.append(f"a stream ended with {pictures} pictures")


def run(options: Options) -> Report:
    """Throughput for every count of decoders, then the streams on all of them, then the larger pictures."""
    report = Report("scale")
    seconds, counts = (2.0, QUICK_COUNTS) if options.quick else (20.0, COUNTS)
    streams = 40 if options.quick else STREAMS
    with started(options, counts[-1], 64) as stubs:
        for count in counts:
            report.rows.append(measured(options, stubs, count, 2 * CAPACITY * count, seconds))
        # More callers than streams, so that as many are open while some begin anew.
        row = measured(options, stubs, counts[-1], streams * 11 // 10, seconds, streams=True)
        report.rows.append(row)
    with started(options, 4, 256) as stubs:
        report.rows.append(measured(options, stubs, 4, 2 * CAPACITY * 4, seconds, size=256))
    rates = [float(str(row["pictures_s"])) for row in report.rows]
    for count, rate in zip(counts[1:], rates[1:], strict=False):
        report.figure(f"throughput_over_linear_at_{count}", rate / (count * rates[0]), ">= 0.95")
    report.figure(f"gateway_cpu_at_{counts[-1]}_ms", float(str(report.rows[len(counts) - 1]["gateway_ms"])), "<= 15")
    report.figure("gateway_cpu_256px_ms", float(str(report.rows[-1]["gateway_ms"])))
    report.figure("streams_held", float(str(row["held"])), f">= {streams}")
    report.figure("streams_lost", float(str(row["failed"])), "== 0")
    from tests.bench import day, gateways  # of which the latter is made of what is here

    gateways.measure(options, report)
    rule = day.Rule.of_the_chart(minReplicas=2, maxReplicas=24)
    for name, traffic in (("ordinary", day.ordinary(6.0)), ("sudden", day.sudden(6.0))):
        found = day.simulate(traffic, day.Pool(), rule)
        report.figure(f"{name}_day_over_target", found.over)
        report.figure(f"{name}_day_replica_hours_over_oracle", found.ratio)
        report.figure(f"{name}_day_longest_s", found.worst)
    return report


def started(options: Options, replicas: int, size: int) -> Process:
    """The stubs."""
    told = ["--replicas", str(replicas), "--seconds", "1", "--capacity", str(CAPACITY), "--size", str(size)]
    return Process("tests.bench.replicas", told, options.scratch)


def measured(
    options: Options, stubs: Process, count: int, callers: int, seconds: float, *, streams: bool = False, size: int = 64
) -> dict[str, object]:
    """A row: ``callers`` at a gateway of its own in front of the first ``count`` decoders."""
    *decoders, others = stubs.address().split()
    targets = dict.fromkeys(("encoder", "prior", "upsampler"), others)
    targets["decoder"] = "ipv4:" + ",".join(decoders[:count])
    words = [word for role, target in targets.items() for word in (f"--{role}", target)]
    with Process("gateway", [*words, "--log-level", "WARNING"], options.scratch) as gateway:
        gateway.address()
        found = asyncio.run(observed(gateway, stubs, callers, seconds, streams))
    return {"decoders": count, "call": "Stream" if streams else "Generate", "px": size, "callers": callers, **found}


async def observed(gateway: Process, stubs: Process, count: int, seconds: float, streams: bool) -> dict[str, object]:
    """Warms up, then looks at everything twice, ``seconds`` apart. Milliseconds are CPU time a picture."""

    def look() -> tuple[float, float, float, float]:
        return time.monotonic(), gateway.cpu_seconds, stubs.cpu_seconds, time.process_time()

    callers, tally = Callers(gateway.address(), count), Tally()
    asking = asyncio.create_task(callers.ask(tally, WARM_S + seconds, streams=streams))
    await asyncio.sleep(WARM_S)
    before = look()
    await asyncio.sleep(seconds)
    after = look()
    await asking
    await callers.close()
    pictures = tally.arrived(before[0], after[0])
    used = [1000 * (now - then) / max(pictures, 1) for now, then in zip(after, before, strict=True)]
    return {
        "pictures_s": round(pictures / (after[0] - before[0]), 3),
        "gateway_ms": round(used[1], 2),
        "stubs_ms": round(used[2], 2),
        "callers_ms": round(used[3], 2),
        "failed": len(tally.failures),
        "held": tally.held(before[0], after[0]) if streams else None,
        "first_failure": tally.failures[0] if tally.failures else None,
    }
