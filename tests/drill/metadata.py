"""metadata: strangers send odd metadata to every service, and a flood of calls that they give up, beside a caller who
does nothing wrong. That one is never refused, the logs stay small, and what the strangers sent is in none of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle

from tests.drill.apart import apart
from tests.drill.cluster import STAGES, Cluster, Role, cluster
from tests.drill.load import Load, calling, percentile
from tests.drill.odd_metadata import ODD, PARENT, SECRET, one, paths, telling
from tests.drill.report import Finding, Setting
from tests.http2 import (
    ACK,
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    Connection,
    frame,
    literal,
    message,
    of_call,
    repeated,
)

RATE, STATES_PER_SECOND = 4.0, 20.0
SECONDS, SECONDS_SHORT, QUIET_S, QUIET_SHORT_S = 60.0, 4.0, 30.0, 2.0
LOG_BYTES_PER_SECOND = 50_000  # of one process, whatever it is sent


async def run(setting: Setting) -> Finding:
    """Real services with the tiny checkpoint, short: stubs, since `tests.drill.hostile` sends the same to
    real ones; their logs at DEBUG."""
    seconds = SECONDS_SHORT if setting.short else SECONDS
    finding = Finding("odd metadata and calls given up, beside a caller who does nothing wrong")
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 1, "upsampler": 1, "gateway": 1}
    stubs: dict[Role, tuple[str, ...]] = dict.fromkeys(STAGES, ()) if setting.short else {}
    options: dict[Role, tuple[str, ...]] = dict.fromkeys(counts, ("--log-level", "DEBUG"))
    with ExitStack() as exits:
        attacker = exits.enter_context(apart())
        prepared = attacker(prepare)
        running = exits.enter_context(
            cluster(setting.folder, counts, stubs=stubs, checkpoint=setting.checkpoint, options=options)
        )
        addresses = {role: f"{running.of(role)[0].address}:{running.ports[role]}" for role in counts}
        await prepared
        async with calling(running.target("gateway"), steps=2) as load:
            async with load.flowing(RATE):
                await asyncio.sleep(QUIET_SHORT_S if setting.short else QUIET_S)
            quiet, load = load, Load(load.stub, steps=2)
            sizes, began = logged(running), time.monotonic()
            async with load.flowing(RATE):
                sent = await attacker(strangers, addresses, seconds)
            lasted = time.monotonic() - began
        grown = {role: size - sizes[role] for role, size in logged(running).items()}
        told = telling(running)
        dead = [replica.role for replica in running.replicas if not replica.process.running]
        cut = [replica.metrics.total("unclip_connections_cut_total") for replica in running.of("gateway")]
    finding.claim(f"{len(load.failures)} of {len(load.ended)} of its calls failed ({load.told()})", not load.failures)
    finding.claim(f"what strangers sent is in {len(told)} of {len(grown)} logs {told or ''}".strip(), not told)
    most = max(grown.values()) / lasted / 1000
    finding.claim(f"logs grew by at most {most:.1f} kB a second", most * 1000 <= LOG_BYTES_PER_SECOND)
    finding.claim(f"{len(dead)} crashed", not dead)
    finding.claim(f"{sum(cut):.0f} flooding connections were shut", sum(cut) > 0)
    before, during = (percentile([o.seconds for o in each.ended], 0.5) for each in (quiet, load))
    finding.told(f"median {1000 * before:.0f} ms in quiet, {1000 * during:.0f} ms under it")
    finding.told(f"{sum(sent)} odd calls and {len(sent)} kinds of strangers in {lasted:.0f} s")
    return finding


def logged(running: Cluster) -> dict[Role, int]:
    """Bytes in the log of each role."""
    return {replica.role: replica.process.log.stat().st_size for replica in running.replicas}


def prepare() -> None:
    """Imports this."""


def strangers(addresses: Mapping[Role, str], seconds: float) -> list[int]:
    """Callers who mean no good, for so long; gives how much each has sent."""
    stop, sent = threading.Event(), [0, 0, 0, 0]
    methods = [(addresses[role], path) for role, path in paths()]
    gateway = addresses["gateway"]
    work: tuple[Callable[[int], None], ...] = (
        lambda number: odd(sent, number, methods, stop),
        lambda number: states(sent, number, gateway, stop),
        lambda number: amplified(sent, number, gateway, stop),
        lambda number: given_up(sent, number, gateway, stop),
    )
    threads = [threading.Thread(target=each, args=(number,)) for number, each in enumerate(work)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sent


def odd(sent: list[int], number: int, methods: Sequence[tuple[str, str]], stop: threading.Event) -> None:
    """Every kind of odd metadata to every method in turn, each over a connection of its own."""
    for headers, (address, path) in cycle((headers, method) for headers in ODD for method in methods):
        if stop.wait(0.02):
            return
        one(address, path, headers)
        sent[number] += 1


def states(sent: list[int], number: int, gateway: str, stop: threading.Event) -> None:
    """20 calls a second with a state of 10 KB, some sound and too long, some malformed, over one connection each."""
    whole = b",".join(b"k%d=" % index + b"x" * 60 for index in range(31))
    for state in cycle((whole * 5, whole, b"x" * 7000, b"a=" + b"y" * 7000)):
        if stop.wait(1 / STATES_PER_SECOND):
            return
        one(gateway, "/unclip.api.gateway.v1.GatewayService/Embed", [PARENT, (b"tracestate", state)], b"\x0a\x03cat")
        sent[number] += 1


def amplified(sent: list[int], number: int, gateway: str, stop: threading.Event) -> None:
    """A few bytes a call, each of which stands for a header that is no UTF-8."""
    entry = literal((b"x", SECRET[:8] + b"\xe9"), indexed=True)
    while not stop.wait(0.05):
        try:
            with Connection(gateway, 5) as connection:
                for more in (entry, *[repeated(62) * 100] * 4):
                    stream = connection.next_stream()
                    head = of_call("/unclip.api.gateway.v1.GatewayService/GetModelInfo") + more
                    connection.send(frame(HEADERS, head, END_HEADERS, stream))
                    connection.send(frame(DATA, message(), END_STREAM, stream))
                connection.ended(stream)
        except OSError:
            pass
        sent[number] += 1


def given_up(sent: list[int], number: int, gateway: str, stop: threading.Event) -> None:
    """Calls that are reset as soon as they have begun, over a new connection whenever one is shut."""
    path = "/unclip.api.gateway.v1.GatewayService/Generate"
    while not stop.is_set():
        try:
            with Connection(gateway, 5) as connection:
                connection.send(frame(SETTINGS, flags=ACK))
                while not stop.wait(0.005):
                    for _ in range(10):
                        stream = connection.next_stream()
                        head = frame(HEADERS, of_call(path), END_HEADERS, stream)
                        connection.send(head, frame(RST_STREAM, CANCEL, 0, stream))
                        sent[number] += 1
        except OSError:
            stop.wait(0.05)
