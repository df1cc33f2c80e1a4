"""gpu: Karlo-sized networks with random weights in bfloat16, ours over diffusers' pipeline run eagerly.

Ours: the services' stages on one engine, as 1, 4, 16 and 64 callers ask for a picture each at the same moment; from
the request to a float32 result on the host. Theirs: ``UnCLIPPipeline`` from the same files, pictures in step in
static batches of 1, 4 and 16, as far as memory goes. 25 and 25 guided steps and 7 of the upsampler for both; captions
are read by neither. Pictures a second are told per stage and whole; a stage's share of the device's matrix peak takes
8.2, 30.4 and 59.5 TFLOP a picture for prior, decoder and upsampler, and as peak the best large bfloat16 product
measured here. Each figure is the best of several runs after one that does not count.

Before that, with tiny networks, that it is right (see `tests.bench.gpu_checks`); after it, where there is time left,
the pipeline with its U-Nets compiled by ``torch.compile``; and a profiler's trace of sixteen pictures.

Without CUDA the same runs with tiny networks in float32 on the CPU, to see that it runs; the report says so, and its
figures say nothing of a GPU. gRPC is not part of this: see ``overhead``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from tests.bench.asking import KARLO
from tests.bench.gpu_checks import checks
from tests.bench.gpu_ways import STAGES, Eager, Ours, Settings, clock
from tests.bench.karlo import TFLOP, make_karlo_sized_checkpoint
from tests.bench.options import Options
from tests.bench.report import Report
from tests.tiny import make_tiny_checkpoint
from unclip.networks.device import open_device
from unclip.networks.placement import FORMATS
from unclip.options import SamplingSettings

CONCURRENCY, BATCHES, MAX_BATCH = (1, 4, 16, 64), (1, 4, 16), 16
RUNS, TRACED = 3, 16
COMPILE_BEFORE_S = 240.0  # since the beginning: compiling two U-Nets takes minutes, and a command has nine
TINY = {
    "prior": SamplingSettings("ddpm", 5, 4.0),
    "decoder": SamplingSettings("ddpm", 5, 8.0),
    "upsampler": SamplingSettings("ddpm", 3, 1.0),
}
Rates = dict[str, float]  # pictures a second of each stage, and of all as "whole"


def run(options: Options) -> Report:
    """On the first GPU, else tiny on the CPU."""
    report, device = Report("gpu"), open_device("auto", options.threads)
    large = device.type == "cuda" and not options.quick
    settings, precision = (KARLO, "bfloat16") if large else (TINY, "float32")
    began, folder = time.monotonic(), options.scratch / "networks"
    for found_so in checks(make_tiny_checkpoint(options.scratch / "tiny"), device):
        report.figure(found_so.name, found_so.value, found_so.bar)
    (make_karlo_sized_checkpoint(folder, device) if large else make_tiny_checkpoint(folder))
    peak = matrix_peak(device) if large else 0.0
    concurrency, batches = (CONCURRENCY[:2], BATCHES[:2]) if options.quick else (CONCURRENCY, BATCHES)
    ours = Ours(folder, device, precision, capacity=max(concurrency), batch=MAX_BATCH)
    eager = Eager(folder, device, FORMATS[precision], ours.dim, ours.context)
    theirs = {batch: rates for batch in batches if (rates := eager_rates(eager, batch, settings))}
    found = {count: our_rates(ours, count, settings) for count in concurrency}
    trace(ours, options.out, settings)
    ours.close()
    compiled: dict[int, Rates] = {}
    if large and time.monotonic() - began < COMPILE_BEFORE_S:
        eager.compile()
        compiled = {batches[-1]: eager_rates(eager, batches[-1], settings)}
    else:
        report.notes.append("torch.compile was left out: no GPU, or no time left for it")
    for system, by_count in (("diffusers eager", theirs), ("diffusers compiled", compiled), ("ours", found)):
        report.rows += [row(system, count, rates, peak) for count, rates in by_count.items()]
    for count, rates in found.items():
        bar = "" if not large or count == 4 else ">= 1.5" if count == 1 else ">= 3.0"
        report.figure(f"ours_over_eager_alone_at_{count}", rates["whole"] / theirs[1]["whole"], bar)
        best = max(each["whole"] for each in theirs.values())
        report.figure(f"ours_over_eager_best_batch_at_{count}", rates["whole"] / best)
        for batch, rate in compiled.items():
            report.figure(f"ours_at_{count}_over_compiled_batch_of_{batch}", rates["whole"] / rate["whole"])
    if large:
        for stage in ("decoder", "upsampler"):
            share = max(rates[stage] for rates in found.values()) * TFLOP[stage] / peak
            report.figure(f"{stage}_share_of_matrix_peak", share, ">= 0.5")
        report.notes.append(f"matrix peak, bfloat16: {peak:.0f} TFLOP/s")
    else:
        report.notes.append(f"tiny networks in float32 on {device}: the figures say nothing of a GPU with Karlo's")
    if not ours.finite:
        report.notes.append("some results were not finite, as random weights may make them")
    return report


def trace(ours: Ours, folder: Path, settings: Settings) -> None:
    """Writes a profiler's trace of `TRACED` pictures in two steps of each stage, for a browser's tracing page."""
    brief, kinds = {stage: replace(chosen, steps=2) for stage, chosen in settings.items()}, [ProfilerActivity.CPU]
    if ours.device.type == "cuda":
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds) as seen:
        ours.whole(TRACED if ours.device.type == "cuda" else 1, brief)
    folder.mkdir(parents=True, exist_ok=True)
    seen.export_chrome_trace(str(folder / "gpu-trace.json.gz"))


def our_rates(ours: Ours, count: int, settings: Settings) -> Rates:
    """With ``count`` callers at once."""
    brief = {stage: replace(chosen, steps=2) for stage, chosen in settings.items()}
    ours.whole(count, brief)
    rates = {}
    for stage in STAGES:
        ours.stage(stage, count, brief[stage])
        rates[stage] = count / min(ours.stage(stage, count, settings[stage]) for _ in range(runs(count)))
    return {**rates, "whole": count / min(ours.whole(count, settings) for _ in range(runs(count)))}


def eager_rates(eager: Eager, batch: int, settings: Settings) -> Rates:
    """In batches of ``batch``; empty when memory does not suffice."""
    try:
        eager.seconds(batch, {stage: replace(chosen, steps=2) for stage, chosen in settings.items()})
        found = [eager.seconds(batch, settings) for _ in range(runs(batch))]
    except torch.OutOfMemoryError:
        return {}
    best = {stage: min(seconds[stage] for seconds in found) for stage in STAGES}
    whole = min(sum(seconds.values()) for seconds in found)
    return {**{stage: batch / seconds for stage, seconds in best.items()}, "whole": batch / whole}


def runs(count: int) -> int:
    """Fewer of the long ones."""
    return RUNS if count < 16 else 1


def row(system: str, count: int, rates: Rates, peak: float) -> dict[str, object]:
    """One line; shares of the peak only where it was measured."""
    shares = {f"{stage}_share": round(rates[stage] * TFLOP[stage] / peak, 3) for stage in STAGES if peak}
    return {"system": system, "at_once": count, **{f"{name}_s": round(r, 4) for name, r in rates.items()}, **shares}


def matrix_peak(device: torch.device, sides: Sequence[int] = (4096, 8192, 16384)) -> float:
    """TFLOP/s of the best square bfloat16 product."""
    best = 0.0
    for side in sides:
        left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
        left @ right
        for _ in range(RUNS):
            began = clock(device)
            for _ in range(10):
                left @ right
            best = max(best, 10 * 2 * side**3 / (clock(device) - began) / 1e12)
    return best
