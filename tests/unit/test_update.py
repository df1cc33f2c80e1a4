"""The shared update: rows keep to themselves, and walks through a perfect network end where the data lie.

For data distributed as N(mean, deviation^2) the best noise prediction is known in closed form, so that what samplers,
guidance and inversion make of it can be told in advance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unclip.diffusion.guidance import guided
from unclip.diffusion.inversion import inversion_table
from unclip.diffusion.noise import NoiseKey, Stream, gaussian
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import SamplerTable
from unclip.diffusion.update import Course, advance
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.networks.interface import Tensors
from unclip.options import SAMPLERS, SamplerName

SCHEDULE = NoiseSchedule.squaredcos_cap_v2()
BARS = torch.from_numpy(SCHEDULE.alphas_cumprod)
DEVIATION = 0.1
COUNT = 10_000
CPU = torch.device("cpu")

ROWS = st.tuples(st.sampled_from(SAMPLERS), st.integers(1, 60), st.integers(0, 59), st.floats(0, 1), st.integers(0, 99))


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def courses(tables: Sequence[SamplerTable], keys: Sequence[tuple[int, Stream, int]]) -> list[Course]:
    return [Course.of(table, key, CPU) for table, key in zip(tables, keys, strict=True)]


def best_prediction(inputs: Tensors) -> torch.Tensor:
    """The noise to expect in x_t when the data are N(mean, DEVIATION^2)."""
    bar = BARS[inputs["timestep"]][:, None]
    mean, x = inputs["mean"][:, None].double(), inputs["sample"].double()
    return ((1 - bar).sqrt() * (x - bar.sqrt() * mean) / (bar * DEVIATION**2 + 1 - bar)).float()


def gaussian_walk(table: SamplerTable, mean: float, seed: int = 0, start: torch.Tensor | None = None) -> Trajectory:
    return Trajectory(("gaussian",), table, (COUNT,), CPU, {"mean": torch.tensor(mean)}, seed=seed, start=start)


def finish(walks: Sequence[Trajectory]) -> list[torch.Tensor]:
    """Walks side by side, those that are done leaving."""
    program, left = TrajectoryProgram(best_prediction), list(walks)
    while left:
        program.tick(left)
        for walk in left:
            walk.position += 1
        left = [walk for walk in left if walk.position < walk.length]
    return [walk.result() for walk in walks]


@given(rows=st.lists(ROWS, min_size=1, max_size=5))
def test_a_step_is_the_tables_row_applied_to_each_sample(
    rows: list[tuple[SamplerName, int, int, float, int]],
) -> None:
    count = len(rows)
    x, out, before = normal(1, count, 6), normal(2, count, 6), normal(3, count, 6)
    tables = [sampler_table(name, SCHEDULE, steps, prediction="sample", eta=eta) for name, steps, _, eta, _ in rows]
    steps = [at % len(table) for (_, _, at, _, _), table in zip(rows, tables, strict=True)]
    keys = [(seed, Stream.DECODER, 0) for *_, seed in rows]
    after, x0 = advance(x, out, before, courses(tables, keys), steps)
    for i, (table, step) in enumerate(zip(tables, steps, strict=True)):
        noise = gaussian([NoiseKey(*keys[i], step + 1)], [6])[0]
        clamped = out[i].double().clamp(-1, 1)
        expected = table.c_x[step] * x[i] + table.c_x0[step] * clamped + table.c_x0_before[step] * before[i]
        torch.testing.assert_close(after[i].double(), expected + table.sigma[step] * noise, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(x0[i].double(), clamped)


@given(rows=st.lists(ROWS, min_size=2, max_size=5), data=st.data())
def test_a_row_moves_alone_as_it_moves_in_company(
    rows: list[tuple[SamplerName, int, int, float, int]], data: st.DataObject
) -> None:
    count = len(rows)
    x, out, before = normal(4, count, 3, 2, 2), normal(5, count, 6, 2, 2), normal(6, count, 3, 2, 2)
    tables = [
        sampler_table(name, SCHEDULE, steps, variance="learned_range", eta=eta) for name, steps, _, eta, _ in rows
    ]
    steps = [at % len(table) for (_, _, at, _, _), table in zip(rows, tables, strict=True)]
    keys = [(seed, Stream.DECODER, 0) for *_, seed in rows]
    i = data.draw(st.integers(0, count - 1))
    one = slice(i, i + 1)
    together = advance(x, out, before, courses(tables, keys), steps)
    alone = advance(x[one], out[one], before[one], courses(tables[one], keys[one]), steps[one])
    for shared, single in zip(together, alone, strict=True):
        torch.testing.assert_close(shared[one], single, rtol=1e-6, atol=1e-6)


def test_a_row_on_its_last_step_takes_no_harm_from_an_extreme_variance_beside_a_noisy_row() -> None:
    table = sampler_table("ddpm", SCHEDULE, 5, variance="learned_range")
    out = torch.cat([normal(0, 2, 3, 4), torch.full((2, 3, 4), 100.0)], dim=1)
    out[0, 3:] = 0.0
    keys = [(seed, Stream.DECODER, 0) for seed in range(2)]
    after, _ = advance(normal(1, 2, 3, 4), out, torch.zeros(2, 3, 4), courses([table] * 2, keys), [0, 4])
    assert after.isfinite().all()


@given(scales=st.lists(st.floats(0, 30, width=32), min_size=1, max_size=4))
def test_guidance_leads_from_the_unconditional_through_the_conditional_output(scales: list[float]) -> None:
    conditional, unconditional = normal(0, len(scales), 3, 2), normal(1, len(scales), 3, 2)
    found = guided(conditional, unconditional, torch.tensor(scales))
    for i, scale in enumerate(scales):
        expected = (1 - scale) * unconditional[i] + scale * conditional[i]
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)


def test_every_sampler_nears_the_data_with_more_steps_and_all_may_share_a_batch() -> None:
    rules: list[tuple[SamplerName, float]] = [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.5), ("dpm++2m", 0.0)]
    tables = [sampler_table(rule, SCHEDULE, steps, eta=eta) for rule, eta in rules for steps in (20, 100, 500)]
    drawn = finish([gaussian_walk(table, 0.3, seed=seed) for seed, table in enumerate(tables)])
    assert all(sample.mean().item() == pytest.approx(0.3, abs=0.005) for sample in drawn)
    errors = [abs(sample.std().item() - DEVIATION) for sample in drawn]
    for few, more, most in (errors[i : i + 3] for i in range(0, len(errors), 3)):
        assert few > more > most
        assert most < 0.05 * DEVIATION


def test_guided_walks_end_around_the_extrapolated_mean() -> None:
    """Best predictions are linear in the mean, so guidance s moves it to u + s (c - u) and nothing else."""
    walks = [
        Trajectory(
            ("gaussian",),
            sampler_table("ddim", SCHEDULE, 200),
            (COUNT,),
            CPU,
            {"mean": torch.tensor(0.1)},
            unconditional={"mean": torch.tensor(-0.05)},
            guidance_scale=scale,
            seed=5,
        )
        for scale in (0.0, 1.0, 3.0, 4.0)
    ]
    for drawn, mean in zip(finish(walks), (-0.05, 0.1, 0.4, 0.55), strict=True):
        assert drawn.mean().item() == pytest.approx(mean, abs=0.005)
        assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.1)


def test_inversion_finds_the_noise_that_the_data_came_from() -> None:
    """On Gaussian data the walk's limit is known: x_T is x_0, standardised."""
    data = 0.2 + DEVIATION * normal(7, COUNT)
    errors = []
    for steps in (50, 200, 800):
        [found] = finish([gaussian_walk(inversion_table(SCHEDULE, steps), 0.2, start=data)])
        errors.append((found - (data - 0.2) / DEVIATION).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_ddim_draws_an_inverted_picture_again() -> None:
    data = 0.2 + DEVIATION * normal(8, COUNT)
    errors = []
    for steps in (50, 200, 800):
        [noise] = finish([gaussian_walk(inversion_table(SCHEDULE, steps), 0.2, start=data)])
        [again] = finish([gaussian_walk(sampler_table("ddim", SCHEDULE, steps), 0.2, start=noise)])
        errors.append((again - data).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2 / 255  # one grey level of pictures in [-1, 1]


def test_more_eta_strays_further_from_an_inverted_picture() -> None:
    data = 0.2 + DEVIATION * normal(9, COUNT)
    [noise] = finish([gaussian_walk(inversion_table(SCHEDULE, 100), 0.2, start=data)])
    etas = (0.0, 0.1, 0.3, 1.0)
    again = finish([gaussian_walk(sampler_table("ddim", SCHEDULE, 100, eta=e), 0.2, start=noise) for e in etas])
    distances = [(drawn - data).abs().mean().item() for drawn in again]
    assert distances == sorted(distances)
    assert distances[0] < 0.1 * distances[-1]
