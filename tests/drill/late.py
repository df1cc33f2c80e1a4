"""late: every caller has a deadline, and more is asked for than can be done. What the stack does, it does for callers
who get it in time: pictures that come in time are nearly all that it can make, and who gets none is told so at once.

In full, real stages on the embedded checkpoint; short, on the tiny one with steps that sleep, so that neither the
machine nor its other work decides.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from tests.drill.cluster import beside
from tests.drill.load import percentile
from tests.drill.report import Finding, Setting
from tests.metrics import Metrics
from tests.processes import Process, free_port
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.serving.metadata import CLIENT as HEADER

EMBEDDED = Path("checkpoints/emoji")
CLIENTS = 64  # names that calls come under
RUNS = 3
CALLERS, PATIENCE_S = 16, 240.0  # of the closed loop that measures capacity
REFUSED = ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
# Seconds in which 99 of 100 refusals come; on a machine that may be busy, half of them. Who is told later than EARLY_S
# was not refused but dropped.
REFUSAL_S, SHORT_S, EARLY_S = 0.05, 0.3, 1.0
CROWDS = (400, 800)
CROWD_S = 2.0  # in which they come: a crowd of 800 is 400 a second


@dataclass(frozen=True)
class Ask:
    """One picture. steps: of decoder and upsampler; deadline: seconds from the time it was meant to be sent."""

    decoder: int
    upsampler: int
    deadline: float


@dataclass(frozen=True)
class Row:
    """One line of the table. times: offered, of capacity; goal: goodput over capacity."""

    name: str
    times: float
    deadline: float
    goal: float
    apart: bool = False
    queue: int | None = None
    mixed: bool = False


ROWS = (
    Row("1.5x, 12 s", 1.5, 12, 0.95),
    Row("2x, 30 s", 2, 30, 0.95),
    Row("4x, 12 s", 4, 12, 0.9),
    Row("4x, 12 s, decoder and upsampler apart", 4, 12, 0.9, apart=True),
    Row("4x, 12 s, queue 16", 4, 12, 0.9, queue=16),
    Row("10x, 2 to 60 s, mixed", 10, 60, 0.9, mixed=True),
)
# A busy machine makes goodput say little: the share of all decoder steps that were for pictures that came in time is
# judged instead. A stack that works on what is thrown away gets to 0.1.
SHORT = Row("4x, 3 s", 4, 3, 0.7)


@dataclass(frozen=True)
class Scale:
    """How large a drill is. steps: of a picture, decoder and upsampler. warm_s: until capacity is measured; capacity_s,
    measured_s: while it and goodput are; most_settling_s: until the latter, if the deadline is not sooner."""

    steps: tuple[int, int]
    warm_s: float
    capacity_s: float
    measured_s: float
    most_settling_s: float


FULL = Scale((10, 2), 4.0, 16.0, 30.0, 15.0)
BRIEF = Scale((8, 3), 1.0, 3.0, 6.0, 3.0)


def asks(row: Row, scale: Scale, chance: random.Random) -> Iterator[Ask]:
    """What callers ask for, without end."""
    decoder, upsampler = scale.steps
    while True:
        if row.mixed:
            patience = 2 * 30 ** chance.random()  # 2 to 60 s, as many below 11 s as above
            yield Ask(max(1, round(decoder * chance.uniform(0.1, 1.9))), chance.randint(1, 2 * upsampler), patience)
        else:
            yield Ask(decoder, upsampler, row.deadline)


@dataclass(frozen=True)
class Outcome:
    """What became of a call. due: when it was meant to be sent; ended: `time.monotonic` seconds, too."""

    ask: Ask
    due: float
    ended: float
    code: str
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it took, from when it was meant to be sent."""
        return self.ended - self.due


async def one(
    stub: gateway_pb2_grpc.GatewayServiceAsyncStub, ask: Ask, seed: int, due: float, patience: float | None = None
) -> Outcome:
    """One call, that has until ``due`` and its deadline, or ``patience`` seconds from then."""
    request = gateway_pb2.GenerateRequest(caption=f"picture {seed % 50}", seed=seed)
    request.decoder.steps, request.upsampler.steps = ask.decoder, ask.upsampler
    code, message, left = "OK", "", due + (patience or ask.deadline) - time.monotonic()
    try:
        await stub.Generate(request, timeout=left, metadata=((HEADER, f"late-{seed % CLIENTS}"),))
    except grpc.aio.AioRpcError as error:
        code, message = error.code().name, error.details() or ""
    return Outcome(ask, due, time.monotonic(), code, message)


@dataclass
class Stack:
    """The services as processes. decoders: where those with the decoder and the upsampler tell of their steps."""

    address: str
    decoders: Sequence[Metrics]

    def spent(self) -> list[float]:
        """Seconds of all steps so far and rows in them, of the decoder, then of the upsampler."""
        names = ("unclip_step_seconds_sum", "unclip_batch_size_sum")
        return [
            sum(each.total(name, program=program) for each in self.decoders)
            for program in ("decoder", "upsampler")
            for name in names
        ]


@contextmanager
def stack(folder: Path, checkpoint: Path, row: Row, slow: bool) -> Iterator[Stack]:
    """Encoder, prior, decoder with upsampler or apart, and gateway. slow: with steps that sleep, and stubs before the
    decoder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as exits:
        common = ["--checkpoint", str(checkpoint), "--device", "cpu", "--threads", "1", "--log-level", "WARNING"]
        if row.queue is not None:
            common += ["--queue-limit", str(row.queue)]
        told: list[Metrics] = []

        def start(name: str, module: str, *words: str) -> Process:
            metrics = Metrics(f"127.0.0.1:{free_port()}")
            told.append(metrics)
            options = [*common, "--metrics", metrics.address, *words]
            if slow:
                module, options = "tests.drill.slow", ["--module", module, *options]
            return exits.enter_context(Process(module, options, folder, name))

        def begin(name: str, module: str) -> Process:
            if not slow:
                return start(name, module)
            return exits.enter_context(Process("unclip.testing", ["--stages", name, *beside(checkpoint)], folder, name))

        running = {"encoder": begin("encoder", "encoder_svc"), "prior": begin("prior", "prior_svc")}
        told.clear()
        if row.apart:
            running["decoder"] = start("decoder", "decoder_svc", "--stages", "decode")
            running["upsampler"] = start("upsampler", "decoder_svc", "--stages", "upsample")
        else:
            running["decoder"] = running["upsampler"] = start("decoder", "decoder_svc")
        targets = [word for stage, process in running.items() for word in (f"--{stage}", process.address())]
        gateway = exits.enter_context(Process("gateway", [*targets, "--log-level", "WARNING"], folder))
        yield Stack(gateway.address(), tuple(told))


@dataclass(frozen=True)
class Result:
    """What one run of a row saw. pictures_s: capacity, in pictures as asked for. goodput: in time, over capacity.
    useful: the share of all decoder steps that were for pictures which came in time."""

    pictures_s: float
    goodput: float
    useful: float
    outcomes: Sequence[Outcome]

    @property
    def refusals(self) -> list[float]:
        """Seconds of those refused at once."""
        return [o.seconds for o in self.outcomes if o.code in REFUSED and o.seconds < EARLY_S]

    @property
    def told(self) -> str:
        """The run in a line."""
        codes = Counter(o.code for o in self.outcomes)
        dropped = sum(o.code in REFUSED and o.seconds >= EARLY_S for o in self.outcomes)
        good = [o.seconds for o in self.outcomes if o.code == "OK"]
        return (
            f"capacity {self.pictures_s:.2f}/s, goodput {self.goodput:.2f}, useful {self.useful:.2f}, {dict(codes)}, "
            f"refused at once {len(self.refusals)}: p50 {1e3 * percentile(self.refusals, 0.5):.0f} ms, "
            f"p99 {1e3 * percentile(self.refusals, 0.99):.0f} ms; {dropped} told later; "
            f"served p50 {percentile(good, 0.5):.1f} s, p99 {percentile(good, 0.99):.1f} s"
        )


async def measure(running: Stack, row: Row, scale: Scale, seed: int) -> Result:
    """Capacity by a closed loop, then goodput under an open one."""
    options = (("grpc.enable_retries", 0),)
    async with grpc.aio.insecure_channel(running.address, options=options) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        chance = random.Random(seed)
        async with closed_loop(stub, asks(row, scale, chance)):
            await asyncio.sleep(scale.warm_s)
            before, first = running.spent(), time.monotonic()
            await asyncio.sleep(scale.capacity_s)
            spent, last = running.spent(), time.monotonic()
        # Steps and not pictures are counted: these end eight at a time. A step costs what it did meanwhile.
        decoding, decoded, upsampling, upsampled = (now - then for now, then in zip(spent, before, strict=True))
        capacity = (decoding + upsampling) / (last - first)

        def cost(ask: Ask) -> float:
            return ask.decoder * decoding / max(1.0, decoded) + ask.upsampler * upsampling / max(1.0, upsampled)

        likely = asks(row, scale, random.Random(0))
        pictures = capacity / statistics.mean(cost(next(likely)) for _ in range(1000))
        ran = running.spent()[1]
        began, calls, number = time.monotonic(), set[asyncio.Task[Outcome]](), 1000
        settled = began + min(row.deadline, scale.most_settling_s)
        due, wanted = began, asks(row, scale, chance)
        while due < settled + scale.measured_s:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.add(asyncio.create_task(one(stub, next(wanted), number, due)))
            due, number = due + chance.expovariate(row.times * pictures), number + 1
        ended = settled + scale.measured_s
        outcomes = await asyncio.gather(*calls)
        good = sum(cost(o.ask) for o in outcomes if o.code == "OK" and settled <= o.ended < ended)
        ran = running.spent()[1] - ran
        useful = sum(o.ask.decoder for o in outcomes if o.code == "OK") / max(1.0, ran)
        return Result(pictures, good / scale.measured_s / capacity, useful, outcomes)


@asynccontextmanager
async def closed_loop(
    stub: gateway_pb2_grpc.GatewayServiceAsyncStub, wanted: Iterator[Ask]
) -> AsyncIterator[list[Outcome]]:
    """``CALLERS`` patient callers who ask for the next picture when they have one, and go when the body ends."""
    outcomes = list[Outcome]()

    async def caller(number: int) -> None:
        seed = number
        while True:
            outcomes.append(await one(stub, next(wanted), seed, time.monotonic(), PATIENCE_S))
            seed += CALLERS

    callers = asyncio.gather(*(caller(number) for number in range(CALLERS)))
    try:
        yield outcomes
    finally:
        callers.cancel()
        await asyncio.gather(callers, return_exceptions=True)
    assert all(o.code == "OK" for o in outcomes), Counter(o.code for o in outcomes)


async def crowd(running: Stack, size: int, scale: Scale, deadline: float) -> list[Outcome]:
    """What becomes of ``size`` calls that come within `CROWD_S`, over one connection."""
    chance = random.Random(size)
    async with grpc.aio.insecure_channel(running.address, options=(("grpc.enable_retries", 0),)) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        await channel.channel_ready()
        began, calls = time.monotonic(), list[asyncio.Task[Outcome]]()
        for number, due in enumerate(sorted(began + chance.uniform(0, CROWD_S) for _ in range(size))):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.append(asyncio.create_task(one(stub, Ask(*scale.steps, deadline), 5000 + number, due)))
        return await asyncio.gather(*calls)


def row_of(row: Row, scale: Scale, setting: Setting, runs: int = RUNS) -> list[Result]:
    """So many runs of a row, each on a stack of its own."""
    results = []
    for number in range(runs):
        checkpoint = setting.checkpoint if setting.short else EMBEDDED
        folder = setting.folder / f"{row.name}-{number}".replace(" ", "-")
        with stack(folder, checkpoint, row, setting.short) as running:
            results.append(asyncio.run(measure(running, row, scale, number)))
            print(f"{row.name}: {results[-1].told}", flush=True)
    return results


def crowds_of(
    row: Row, scale: Scale, setting: Setting, sizes: Sequence[int]
) -> tuple[Result, dict[int, Sequence[Outcome]]]:
    """What became of a run of ``row``, and then, on the same stack, of crowds of so many calls, one after the other."""
    checkpoint = setting.checkpoint if setting.short else EMBEDDED
    with stack(setting.folder / "crowds", checkpoint, row, setting.short) as running:
        first = asyncio.run(measure(running, row, scale, 0))
        return first, {size: asyncio.run(crowd(running, size, scale, row.deadline)) for size in sizes}


async def run(setting: Setting) -> Finding:
    """Short: one row, once, and the smaller crowd, on one stack."""
    finding = Finding("more than can be done, with deadlines")
    if setting.short:
        result, found = await asyncio.to_thread(crowds_of, SHORT, BRIEF, setting, CROWDS[:1])
        claim(finding, SHORT, [result], short=True)
        crowded(finding, found, short=True)
        return finding
    for row in ROWS:
        claim(finding, row, await asyncio.to_thread(row_of, row, FULL, setting))
    brief = replace(FULL, measured_s=5.0, most_settling_s=5.0)
    crowded(finding, (await asyncio.to_thread(crowds_of, ROWS[2], brief, setting, CROWDS))[1])
    return finding


def claim(finding: Finding, row: Row, results: Sequence[Result], short: bool = False) -> None:
    """The medians of a row's runs."""
    goodput = statistics.median(result.goodput for result in results)
    slow = statistics.median(percentile(result.refusals, 0.99) for result in results)
    refusals = [seconds for result in results for seconds in result.refusals]
    later = sum(o.code in REFUSED and o.seconds >= EARLY_S for r in results for o in r.outcomes)
    other = sum(o.code not in ("OK", *REFUSED) for r in results for o in r.outcomes)
    useful = statistics.median(result.useful for result in results)
    judged = useful if short else goodput
    figure = f"{row.name}: goodput {goodput:.2f} of capacity, {useful:.2f} of decoder steps for pictures in time"
    finding.claim(figure, judged >= row.goal)
    told = f"{row.name}: refusals p99 {1000 * slow:.0f} ms, {later} told later, {other} other failures"
    finding.claim(told, not other and prompt(refusals, short))


def crowded(finding: Finding, found: Mapping[int, Sequence[Outcome]], short: bool = False) -> None:
    """What became of crowds."""
    for size, ended in found.items():
        refusals = [o.seconds for o in ended if o.code in REFUSED and o.seconds < EARLY_S]
        slow, other = percentile(refusals, 0.99), [o for o in ended if o.code not in ("OK", *REFUSED)]
        told = f"{size} calls in {CROWD_S:g} s: {len(refusals)} refused at once, p99 {1000 * slow:.0f} ms"
        finding.claim(f"{told}, {len(other)} other failures", not other and prompt(refusals, short))


def prompt(refusals: Sequence[float], short: bool) -> bool:
    """Whether refusals came as soon as they must."""
    return percentile(refusals, 0.5) <= SHORT_S if short else percentile(refusals, 0.99) <= REFUSAL_S
