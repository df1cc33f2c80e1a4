"""gpu: Karlo-sized networks with random weights in bfloat16, ours over diffusers' pipeline run eagerly.

Ours: the services' stages on one engine, as 1, 4, 16 and 64 callers ask for a picture each at the same moment; from
the request to a float32 result on the host. Theirs: ``UnCLIPPipeline`` from the same files, pictures in step in
static batches of 1, 4 and 16, as far as memory goes. 25 and 25 guided steps and 7 of the upsampler for both; captions
are read by neither. Pictures a second are told per stage and whole; a stage's share of the device's matrix peak takes
8.2, 30.4 and 59.5 TFLOP a picture for prior, decoder and upsampler, and as peak the best large bfloat16 product
measured here. Each figure is the best of several runs after one that does not count.

Without CUDA the same runs with tiny networks in float32 on the CPU, to see that it runs; the report says so, and its
figures say nothing of a GPU. gRPC is not part of this: see ``overhead``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from tests.bench.asking import KARLO
from tests.bench.gpu_ways import STAGES, Eager, Ours, Settings, clock
from tests.bench.karlo import TFLOP, make_karlo_sized_checkpoint
from tests.bench.options import Options
from tests.bench.report import Report
from tests.tiny import make_tiny_checkpoint
from unclip.networks.device import open_device
from unclip.networks.placement import FORMATS
from unclip.options import SamplingSettings

CONCURRENCY, BATCHES, MAX_BATCH = (1, 4, 16, 64), (1, 4, 16), 16
RUNS = 3
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
    folder = options.scratch / "networks"
    (make_karlo_sized_checkpoint(folder, device) if large else make_tiny_checkpoint(folder))
    peak = matrix_peak(device) if large else 0.0
    concurrency, batches = (CONCURRENCY[:2], BATCHES[:2]) if options.quick else (CONCURRENCY, BATCHES)
    ours = Ours(folder, device, precision, capacity=max(concurrency), batch=MAX_BATCH)
    eager = Eager(folder, device, FORMATS[precision], ours.dim, ours.context)
    theirs = {batch: rates for batch in batches if (rates := eager_rates(eager, batch, settings))}
    found = {count: our_rates(ours, count, settings) for count in concurrency}
    ours.close()
    for system, by_count in (("diffusers eager", theirs), ("ours", found)):
        report.rows += [row(system, count, rates, peak) for count, rates in by_count.items()]
    for count, rates in found.items():
        bar = "" if not large or count == 4 else ">= 1.5" if count == 1 else ">= 3.0"
        report.figure(f"ours_over_eager_alone_at_{count}", rates["whole"] / theirs[1]["whole"], bar)
        best = max(each["whole"] for each in theirs.values())
        report.figure(f"ours_over_eager_best_batch_at_{count}", rates["whole"] / best)
    if large:
        share = max(rates["upsampler"] for rates in found.values()) * TFLOP["upsampler"] / peak
        report.figure("upsampler_share_of_matrix_peak", share, ">= 0.5")
        report.notes.append(f"matrix peak, bfloat16: {peak:.0f} TFLOP/s")
    else:
        report.notes.append(f"tiny networks in float32 on {device}: the figures say nothing of a GPU with Karlo's")
    if not ours.finite:
        report.notes.append("some results were not finite, as random weights may make them")
    return report


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
