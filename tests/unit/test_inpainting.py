"""Known pixels stay, the rest is painted to fit: against diffusers' RePaint, and where the answer is known in theory.

For two correlated Gaussian numbers the best noise prediction is known in closed form, and so is what one of them is
when the other is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_repaint
from hypothesis import given
from hypothesis import strategies as st

from unclip.diffusion.inpainting import Known, resampled
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.diffusion.respace import spaced_timesteps
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.update import Course, advance
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.networks.interface import Tensors
from unclip.options import SAMPLERS, SamplerName

SCHEDULE = NoiseSchedule.squaredcos_cap_v2()
BARS = torch.from_numpy(SCHEDULE.alphas_cumprod)
CPU = torch.device("cpu")
SHAPE = (3, 4, 4)

ROWS = st.tuples(
    st.sampled_from(SAMPLERS), st.integers(1, 12), st.integers(1, 4), st.floats(0, 1), st.integers(0, 99), st.booleans()
)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(seed: int) -> torch.Tensor:
    return torch.from_numpy(random(seed).uniform(-1, 1, SHAPE).astype(np.float32))


def masked(seed: int) -> Known:
    return Known.of(picture(seed), torch.from_numpy(random(seed).uniform(size=SHAPE[1:]) < 0.5))


def toy(inputs: Tensors) -> torch.Tensor:
    """Noise as no picture has it, with a learned variance behind it where channels are doubled."""
    x, t = inputs["sample"], inputs["timestep"][:, None, None, None] / 1000
    return torch.cat([torch.tanh(0.7 * x + x.roll(1, -1) + t), torch.sin(5 * x)], dim=1)


def plain(inputs: Tensors) -> torch.Tensor:
    return toy(inputs)[:, :3]


def neighbourly(inputs: Tensors) -> torch.Tensor:
    """float64 noise behind pixels that follow their neighbours, and stay within bounds."""
    x, bar = inputs["sample"].double(), BARS[inputs["timestep"]][:, None, None, None]
    return (x - bar.sqrt() * torch.tanh(x + x.roll(1, -1))) / (1 - bar).sqrt()


def finish(walks: Sequence[Trajectory], network: Any = plain) -> list[torch.Tensor]:
    """Walks side by side, those that are done leaving."""
    program, left = TrajectoryProgram(network), list(walks)
    while left:
        program.tick(left)
        for walk in left:
            walk.position += 1
        left = [walk for walk in left if walk.position < walk.length]
    return [walk.result() for walk in walks]


def walk_of(
    sampler: SamplerName,
    steps: int,
    resampling: int = 1,
    eta: float = 0.0,
    seed: int = 0,
    known: Known | None = None,
    variance: Any = "learned_range",
) -> Trajectory:
    table = resampled(sampler_table(sampler, SCHEDULE, steps, eta=eta, variance=variance), SCHEDULE, resampling)
    return Trajectory(("toy",), table, SHAPE, CPU, {}, seed=seed, known=known)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", [4, 10, 28, 112])  # numbers of steps whose timesteps lie exactly evenly
def test_ddim_inpaints_as_diffusers_repaint_does(steps: int, eta: float) -> None:
    scheduler: Any = scheduling_repaint.RePaintScheduler(beta_schedule="squaredcos_cap_v2", eta=eta, clip_sample=False)
    scheduler.betas = torch.from_numpy(SCHEDULE.betas)
    scheduler.alphas_cumprod = BARS
    scheduler.num_inference_steps = steps - 1  # it steps by T // this
    known, key = masked(1), (5, Stream.DECODER, 0)
    x = gaussian([NoiseKey(*key, START)], SHAPE).double()
    for i, t in enumerate(spaced_timesteps(steps)):
        out = neighbourly({"sample": x, "timestep": torch.tensor([t])})
        noise = gaussian([NoiseKey(*key, i + 1)], SHAPE).double()
        with patch.object(scheduling_repaint, "randn_tensor", lambda *_, noise=noise, **__: noise):
            x = scheduler.step(out, int(t), x, known.pixels.double()[None], known.mask[None].double()).prev_sample
    table = sampler_table("ddim", SCHEDULE, steps, eta=eta, clip=float("inf"))
    walk = Trajectory(("toy",), table, SHAPE, CPU, {}, seed=5, known=known)
    [found] = finish([walk], lambda inputs: neighbourly(inputs).float())
    # At t = 999 x0 = 20000 (x - eps): float32 has so much less to say about it.
    torch.testing.assert_close(found.double(), x[0], rtol=0, atol=0.01)


@given(rows=st.lists(ROWS, min_size=1, max_size=5))
def test_a_step_of_known_pixels_is_the_picture_at_the_level_that_the_step_leads_to(
    rows: list[tuple[SamplerName, int, int, float, int, bool]],
) -> None:
    tables = [
        resampled(sampler_table(sampler, SCHEDULE, steps, eta=eta), SCHEDULE, resampling)
        for sampler, steps, resampling, eta, *_ in rows
    ]
    at = [seed % len(table) for (*_, seed, _), table in zip(rows, tables, strict=True)]
    keys = [(row[4], Stream.UPSAMPLER, 0) for row in rows]
    x, out, before = (torch.stack([picture(i + 7 * j) for i in range(len(rows))]) for j in range(3))
    courses = [Course.of(table, key, CPU) for table, key in zip(tables, keys, strict=True)]
    knowns = [masked(seed) if edits else None for *_, seed, edits in rows]
    after, x0 = advance(x, out, before, courses, at, knowns)
    for i, (table, step, known) in enumerate(zip(tables, at, knowns, strict=True)):
        noise = gaussian([NoiseKey(*keys[i], step + 1)], SHAPE)[0].double()
        predicted = (table.c_skip[step] * x[i].double() + table.c_out[step] * out[i].double()).clamp(-1, 1)
        expected = table.c_x[step] * x[i] + table.c_x0[step] * predicted + table.c_x0_before[step] * before[i]
        expected = expected + (table.sigma[step] ** 2 + table.renoise[step] ** 2) ** 0.5 * noise
        if known is not None:
            level = table.known_signal[step] * known.pixels + table.known_sigma[step] * noise
            expected, predicted = known.mask * level + ~known.mask * expected, known.keep(predicted.float()).double()
        torch.testing.assert_close(after[i].double(), expected, rtol=1e-4, atol=2e-3)
        torch.testing.assert_close(x0[i].double(), predicted, rtol=1e-4, atol=1e-2)


@given(rows=st.lists(ROWS, min_size=2, max_size=5))
def test_rows_with_and_without_known_pixels_share_a_batch(
    rows: list[tuple[SamplerName, int, int, float, int, bool]],
) -> None:
    def make(row: tuple[SamplerName, int, int, float, int, bool]) -> Trajectory:
        sampler, steps, resampling, eta, seed, edits = row
        return walk_of(sampler, steps, resampling, eta, seed, masked(seed) if edits else None)

    for row, shared in zip(rows, finish([make(row) for row in rows], toy), strict=True):
        [single] = finish([make(row)], toy)
        assert (shared - single).abs().max() <= 2 / 255


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("steps", "resampling"), [(1, 1), (1, 3), (2, 1), (7, 1), (7, 3)])
def test_known_pixels_end_bit_for_bit_as_they_were_given_under_100_masks(
    sampler: SamplerName, steps: int, resampling: int
) -> None:
    knowns = [masked(seed) for seed in range(100)]
    ended = finish([walk_of(sampler, steps, resampling, 0.5, i, known) for i, known in enumerate(knowns)], toy)
    for known, found in zip(knowns, ended, strict=True):
        assert found[known.mask].numpy().tobytes() == known.pixels[known.mask].numpy().tobytes()
        assert found.isfinite().all()
        assert not torch.equal(found, known.pixels)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_known_is_plain_painting_and_all_known_is_the_picture(sampler: SamplerName) -> None:
    nothing, everything = (Known.of(picture(0), torch.full(SHAPE[1:], share)) for share in (False, True))
    painted, free, kept = (walk_of(sampler, 6, known=known) for known in (nothing, None, everything))
    ended = finish([painted, free, kept], toy)
    assert torch.equal(ended[0], ended[1])
    assert torch.equal(ended[2], picture(0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_predictions_on_the_way_show_the_known_pixels(sampler: SamplerName) -> None:
    known = masked(3)
    walk, program = walk_of(sampler, 5, 2, known=known), TrajectoryProgram(toy)
    while walk.position < walk.length:
        program.tick([walk])
        walk.position += 1
        assert torch.equal(walk.predicted[known.mask], known.pixels[known.mask])


@given(sampler=st.sampled_from(SAMPLERS), steps=st.integers(1, 300), resampling=st.integers(1, 10), eta=st.floats(0, 1))
def test_a_resampled_walk_repeats_all_steps_but_the_last_each_at_its_level(
    sampler: SamplerName, steps: int, resampling: int, eta: float
) -> None:
    once = sampler_table(sampler, SCHEDULE, steps, eta=eta)
    table = resampled(once, SCHEDULE, resampling)
    assert table.timesteps.tolist() == sorted([*once.timesteps[:-1].tolist() * resampling, once.timesteps[-1]])[::-1]
    here = SCHEDULE.alphas_cumprod[table.timesteps]
    after = np.append(here[1:], 1.0)  # the level the next step starts from, be it the same or a cleaner one
    np.testing.assert_allclose(table.known_signal**2, after, rtol=1e-9)
    np.testing.assert_allclose(table.known_signal**2 + table.known_sigma**2, 1.0, rtol=1e-9)
    signal = table.c_x * np.sqrt(here) + table.c_x0 + table.c_x0_before
    np.testing.assert_allclose(signal, np.sqrt(after), rtol=1e-9)
    deviation = np.hypot(table.sigma, table.renoise)
    np.testing.assert_allclose(table.c_x**2 * (1 - here) + deviation**2, 1 - after, rtol=1e-9, atol=1e-12)
    again = np.diff(table.timesteps, prepend=-1) == 0
    assert (table.c_x0_before[again] == 0).all()  # what lies before a jump back is no history


def test_a_repeated_step_is_the_step_and_then_the_jump_back() -> None:
    """Learned variance too: two independent Gaussians in turn are one of their summed variance."""
    once = sampler_table("ddpm", SCHEDULE, 10, variance="learned_range")
    table = resampled(once, SCHEDULE, 3)
    bars = SCHEDULE.alphas_cumprod[once.timesteps]
    for i in range(9):
        kept = bars[i] / bars[i + 1]
        for take in (3 * i, 3 * i + 1):
            for log in (once.log_variance_low[i], once.log_variance_high[i]):
                jumped = kept * np.exp(log) + 1 - kept
                np.testing.assert_allclose(
                    (table.sigma[take] * np.exp(log / 2)) ** 2 + table.renoise[take] ** 2, jumped, rtol=1e-12
                )
        assert (table.sigma[3 * i + 2], table.renoise[3 * i + 2]) == (once.sigma[i], 0)


def test_resampling_less_than_once_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        resampled(sampler_table("ddpm", SCHEDULE, 3), SCHEDULE, 0)


COVARIANCE = torch.tensor([[0.2, 0.16], [0.16, 0.2]], dtype=torch.float64)
COUNT, GIVEN = 4000, 0.6


def best_prediction(inputs: Tensors) -> torch.Tensor:
    """The noise to expect in ``[B, 2, COUNT]`` when each of the COUNT pairs is N(0, COVARIANCE)."""
    found = []
    for x, bar in zip(inputs["sample"].double(), BARS[inputs["timestep"]], strict=True):
        gain = torch.linalg.inv(bar * COVARIANCE + (1 - bar) * torch.eye(2))
        found.append((1 - bar).sqrt() * gain @ x)
    return torch.stack(found).float()


@pytest.mark.parametrize(("sampler", "eta"), [("ddpm", 0.0), ("ddim", 1.0), ("ddim", 0.0), ("dpm++2m", 0.0)])
def test_resampling_leads_the_unknown_to_what_it_is_given_the_known(sampler: SamplerName, eta: float) -> None:
    known = Known.of(torch.full((2, COUNT), GIVEN), torch.tensor([[True], [False]]))
    tables = [
        resampled(sampler_table(sampler, SCHEDULE, 50, eta=eta, clip=float("inf")), SCHEDULE, times)
        for times in (1, 3, 10)
    ]
    ended = finish(
        [Trajectory(("pairs",), table, (2, COUNT), CPU, {}, known=known) for table in tables], best_prediction
    )
    expected = GIVEN * float(COVARIANCE[1, 0] / COVARIANCE[0, 0])
    errors = [abs(found[1].mean().item() - expected) for found in ended]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1 * expected
    spread = float(COVARIANCE[1, 1] - COVARIANCE[1, 0] ** 2 / COVARIANCE[0, 0]) ** 0.5
    assert ended[2][1].std().item() == pytest.approx(spread, rel=0.2)
    assert all(torch.equal(found[0], known.pixels[0]) for found in ended)
