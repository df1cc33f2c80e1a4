"""mixed: one decoder service under the load of many users who want different things.

Open loop: requests arrive as a Poisson process with a fixed seed, and are sent at their time whether or not others
have been answered. Steps are 5, 10, 25, 50 or 100, guidance 1, 4 or 8, drawn evenly; seeds all differ. Three services
with the same networks, one after the other on the same arrivals:

- ours: ``python -m decoder_svc``, capacity 16, batches of at most 8;
- fifo: one request at a time, in order of arrival (``tests.bench.request_level --max-batch 1``);
- static: dynamic batching of requests with equal settings, at most 8 (``tests.bench.request_level``).

Each has 32 places, running and waiting together, and refuses beyond. Capacity is what *ours* computes when it is
never idle, in network rows a second (a guided step is two rows); 1.0 of it is that many rows in arrivals. The same is
measured for the others, and ours and fifo are compared once more at 0.8 of fifo's own capacity, where fifo is stable.
Goodput is told as a share of the mean of two measurements of ours, before the loads and after the last one.

Beyond 1.0 the run begins with as many requests at once as there are places, since it would take a minute to fill them.

Latency is counted from the time a request should have been sent. Short jobs have at most 10 steps. Goodput counts the
rows computed, after the first quarter and until the last arrival, for requests that were answered with a picture.
Refusals are timed from when they were really sent. The load generator shares the machine with the service.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch

from encoder_svc.encoder import Encoder
from tests.bench.load import GUIDANCE, Caller, Job, jobs
from tests.bench.options import Options
from tests.bench.report import Report
from tests.metrics import Metrics
from tests.processes import Process, free_port
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.wire.embeddings import TextEncoding

CAPTIONS = ("", "a red apple", "a cat", "a dog", "a green heart", "a house", "a robot", "the sun", "a red car")
CAPACITY, MAX_BATCH, PLACES = 16, 8, 32
LOADS = (0.5, 0.8, 1.2)
SHORT = 10  # steps
SYSTEMS: Mapping[str, tuple[str, int, int]] = {  # module, capacity, rows of a batch
    "ours": ("decoder_svc", CAPACITY, MAX_BATCH),
    "fifo": ("tests.bench.request_level", 1, 1),
    "static": ("tests.bench.request_level", MAX_BATCH, MAX_BATCH),
}


@dataclass
class System:
    """One service, how to call it, and what it computes in a second when never idle."""

    name: str
    caller: Caller
    metrics: str
    rows_per_second: float = 0.0

    def batches(self) -> tuple[float, float]:
        """(passes so far, jobs in them all), from its metrics."""
        told = Metrics(self.metrics)
        return told.total("unclip_batch_size_count"), told.total("unclip_batch_size_sum")


def run(options: Options) -> Report:
    """Starts all three services, and measures them in turns."""
    report = Report("mixed")
    texts = encodings(options)
    steps, seconds = ((5, 10, 25), 3.0) if options.quick else ((5, 10, 25, 50, 100), 60.0)
    with ExitStack() as exits:
        started = []
        for name, (module, capacity, batch) in SYSTEMS.items():
            metrics = f"127.0.0.1:{free_port()}"
            flags = {
                "checkpoint": str(options.checkpoint.resolve()),
                "stages": "decode",
                "device": "cpu",
                "threads": str(options.threads),
                "capacity": str(capacity),
                "max-batch": str(batch),
                "queue-limit": str(PLACES - capacity),
                "metrics": metrics,
                "log-level": "WARNING",
            }
            words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
            started.append((exits.enter_context(Process(module, words, options.scratch, name)), metrics))
        addresses = [(process.address(), metrics) for process, metrics in started]
        asyncio.run(measure(report, dict(zip(SYSTEMS, addresses, strict=True)), texts, steps, seconds))
    return report


async def measure(
    report: Report,
    addresses: Mapping[str, tuple[str, str]],
    texts: Sequence[TextEncoding],
    steps: Sequence[int],
    seconds: float,
) -> None:
    """Capacity of each, then every load on every system."""
    systems = {
        name: System(name, Caller(address, texts[1:], texts[0], 600.0), metrics)
        for name, (address, metrics) in addresses.items()
    }
    mean_rows = statistics.mean(steps) * statistics.mean(1 if scale == 1.0 else 2 for scale in GUIDANCE)
    for system in systems.values():
        system.rows_per_second = await system.caller.saturate(jobs(1.0, steps, seed=1), PLACES - 4, seconds / 2)
    ours, fifo = systems["ours"], systems["fifo"]
    for system in systems.values():
        system.caller.timeout = 3 * PLACES * mean_rows / fifo.rows_per_second
    found: dict[tuple[str, float], dict[str, float]] = {}
    for number, load in enumerate(LOADS):
        arrivals = until(seconds, load * ours.rows_per_second / mean_rows, steps, seed=10 + number)
        if load > 1:
            arrivals = [replace(job, at=0.0) for job in itertools.islice(jobs(1.0, steps, seed=9), PLACES)] + arrivals
        for system in systems.values():
            row = await under(system, arrivals, seconds)
            found[system.name, load] = row
            report.rows.append({"system": system.name, "load": load, **row})
    again = await ours.caller.saturate(jobs(1.0, steps, seed=1), PLACES - 4, seconds / 2)
    arrivals = until(seconds, 0.8 * fifo.rows_per_second / mean_rows, steps, seed=20)
    own = {system.name: await under(system, arrivals, seconds) for system in (ours, fifo)}
    report.rows += [{"system": name, "load": "0.8 of fifo's", **row} for name, row in own.items()]
    for system in systems.values():
        report.rows.append(
            {"system": system.name, "load": "never idle", "good_rows_s": round(system.rows_per_second, 1)}
        )
        await system.caller.close()
    report.rows.append({"system": "ours", "load": "never idle, again", "good_rows_s": round(again, 1)})
    conclude(report, found, own)
    bracket = (ours.rows_per_second + again) / 2
    report.figure("goodput_over_capacity_at_1.2", found["ours", 1.2]["good_rows_s"] / bracket, ">= 0.9")
    report.figure("capacity_ours_over_fifo", ours.rows_per_second / fifo.rows_per_second)


def conclude(
    report: Report, found: Mapping[tuple[str, float], Mapping[str, float]], own: Mapping[str, Mapping[str, float]]
) -> None:
    """The figures of the issue."""
    for peer, bar in (("fifo", "<= 0.5"), ("static", "")):
        ratio = found["ours", 0.8]["short_p50_s"] / found[peer, 0.8]["short_p50_s"]
        report.figure(f"short_median_ours_over_{peer}_at_0.8", ratio, bar)
    ratio = own["ours"]["short_p50_s"] / own["fifo"]["short_p50_s"]
    report.figure("short_median_ours_over_fifo_at_0.8_of_fifos", ratio)
    over = found["ours", 1.2]
    if over["refused"]:
        report.figure("refusal_p50_at_1.2_ms", over["refusal_p50_ms"])
        report.figure("refusal_p99_at_1.2_ms", over["refusal_p99_ms"], "<= 50")
    else:
        report.notes.append("nothing was refused at 1.2 of capacity, so that no refusal was timed")


async def under(system: System, load: Sequence[Job], seconds: float) -> dict[str, float]:
    """A row: what one system makes of a load."""
    before = system.batches()
    outcomes = await system.caller.offer(load)
    passes, rows = (now - then for now, then in zip(system.batches(), before, strict=True))
    window = (0.25 * seconds, seconds)
    served = [outcome for outcome in outcomes if outcome.status == "ok"]
    latencies = [outcome.latency for outcome in served]
    short = [outcome.latency for outcome in served if outcome.job.settings.steps <= SHORT]
    refusals = [1000 * (outcome.ended - outcome.sent) for outcome in outcomes if outcome.status == "refused"]
    good = sum(outcome.rows_within(*window) for outcome in served) / (window[1] - window[0])
    found = {
        "asked": len(outcomes),
        "ok": len(served),
        **{status: sum(o.status == status for o in outcomes) for status in ("refused", "late", "failed")},
        **{f"p{share}_s": percentile(latencies, share) for share in (50, 90, 99)},
        **{f"short_p{share}_s": percentile(short, share) for share in (50, 99)},
        "good_rows_s": good,
        "answers_s": sum(window[0] <= o.ended < window[1] for o in served) / (window[1] - window[0]),
        **{f"refusal_p{share}_ms": percentile(refusals, share) for share in (50, 99)},
        "batch": rows / passes if passes else 0.0,
        "sent_late_ms": percentile([1000 * (o.sent - o.job.at) for o in outcomes], 99),
    }
    return {name: round(value, 4) for name, value in found.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """0 for none."""
    return float(np.percentile(values, share)) if values else 0.0


def until(seconds: float, rate: float, steps: Sequence[int], seed: int) -> list[Job]:
    """The arrivals of the first ``seconds``."""
    return list(itertools.takewhile(lambda job: job.at < seconds, jobs(rate, steps, seed)))


def encodings(options: Options) -> list[TextEncoding]:
    """What the checkpoint's encoder says of CAPTIONS."""
    encoder = Encoder(Checkpoint.open(options.checkpoint), torch.device("cpu"))
    tokens = encoder.tokenize(CAPTIONS)
    todo = encoder.text_jobs(tokens)
    with torch.inference_mode():
        encoder.programs["text"].tick(todo)
    return encoder.text_encodings([job.result() for job in todo], tokens)
