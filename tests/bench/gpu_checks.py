"""Before ``gpu`` is fast it has to be right: the same pictures as on a CPU, whatever the batch, and a host that never
waits for the device within a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.bench.gpu_ways import Ours
from unclip.engine.job import Program
from unclip.engine.trajectory import Trajectory
from unclip.networks import placement
from unclip.options import SAMPLERS, SamplingSettings

SEEDS = range(2)
WALKS = {
    "prior": SamplingSettings("ddpm", 5, 4.0),
    "decoder": SamplingSettings("ddpm", 5, 4.0),
    "upsampler": SamplingSettings("ddpm", 3, 1.0),
}
CROWD = 6


@dataclass(frozen=True)
class Found:
    """A check's figure and bar; larger is worse."""

    name: str
    value: float
    bar: str


def checks(folder: Path, device: torch.device) -> list[Found]:
    """All of them, with the tiny networks in ``folder``: on a CPU too, where some can but hold."""
    found = []
    with exact():
        here, there = (drawn(folder, place, "float32") for place in (torch.device("cpu"), device))
        found.append(Found("float32_from_the_cpu_at_most", gap(here, there), "<= 1e-3"))
        with patch.object(placement, "CapturedNetwork", lambda network: network):
            launched = drawn(folder, device, "float32")
        found.append(Found("graphs_from_none_at_most", gap(launched, there), "<= 1e-4"))
        # Random networks, guided, send the little that bfloat16 changes some pixels' way from one end to the other.
        found.append(
            Found("bfloat16_from_float32_median", typical(drawn(folder, device, "bfloat16"), there), "<= 0.05")
        )
    found.append(Found("alone_from_in_a_crowd_at_most_255ths", 255 / 2 * crowded(folder, device), "<= 1"))
    found.append(Found("waits_within_steps", waits(folder, device), "== 0"))
    return found


@contextmanager
def exact() -> Iterator[None]:
    """float32 as it is written: cuDNN and cuBLAS would shorten its mantissa to ten bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def drawn(folder: Path, device: torch.device, precision: str) -> list[torch.Tensor]:
    """What every stage makes of every seed."""
    ours = Ours(folder, device, precision, capacity=16, batch=8)
    try:
        return [ours.result(stage, seed, settings) for stage, settings in WALKS.items() for seed in SEEDS]
    finally:
        ours.close()


def gap(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """The largest difference."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def typical(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """The median difference, of the worst result."""
    return max(float((a - b).abs().median()) for a, b in zip(one, other, strict=True))


def crowded(folder: Path, device: torch.device) -> float:
    """The largest difference of pictures that are made alone and beside others, of other samplers and steps."""
    ours = Ours(folder, device, "float32", capacity=16, batch=8)
    try:
        worst = 0.0
        for stage in ("decoder", "upsampler"):
            asked = [
                replace(WALKS[stage], sampler=SAMPLERS[number % len(SAMPLERS)], steps=3 + number)
                for number in range(CROWD)
            ]
            alone = [ours.result(stage, seed, settings) for seed, settings in enumerate(asked)]
            with ThreadPoolExecutor(CROWD) as pool:
                together = list(pool.map(ours.result, [stage] * CROWD, range(CROWD), asked))
            worst = max(worst, gap(alone, together))
        return worst
    finally:
        ours.close()


class Unwaiting:
    """A program whose ticks raise where the host waits for the device, once everything has been captured."""

    def __init__(self, program: Program[Trajectory]) -> None:
        self.program, self.armed, self.waits = program, False, 0

    def tick(self, jobs: Sequence[Trajectory]) -> None:
        """Moves ``jobs`` whatever happens, and counts where that was by waiting."""
        if not self.armed:
            return self.program.tick(jobs)
        torch.cuda.set_sync_debug_mode("error")
        try:
            self.program.tick(jobs)
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            self.waits += 1
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return None


def waits(folder: Path, device: torch.device) -> int:
    """Steps in which the host waited; on a CPU, which has nothing to wait for, none."""
    if device.type != "cuda":
        return 0
    ours = Ours(folder, device, "bfloat16", capacity=16, batch=8)
    ours.close()
    programs: Mapping[str, Any] = {name: Unwaiting(program) for name, program in ours.programs.items()}
    for armed in (False, True):  # the first round captures, and allocates
        for stage, settings in WALKS.items():
            walks = [ours.walk(stage, seed, settings) for seed in SEEDS]
            for _ in range(settings.steps):
                program = programs[walks[0].program]
                program.armed = armed
                program.tick(walks)
                for walk in walks:
                    walk.position += 1
    return sum(program.waits for program in programs.values())
