"""Samplers and inversion on a model whose every answer is known: pixels that are N(MEAN, DEVIATION**2).

The best prediction of x_0 is then linear in x_t, the probability flow carries x_t along
``alpha_t MEAN + sqrt(alpha_t**2 DEVIATION**2 + sigma_t**2) z`` with z unchanged (Song et al. 2021, arXiv 2011.13456,
section 4.3), and since every sampler is linear in what it sees, the moments of what it ends with need no sampling.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from unclip.diffusion.inversion import inversion_table
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import Float64Array, NoiseSchedule
from unclip.diffusion.table import SamplerTable
from unclip.options import SamplerName

SCHEDULE = NoiseSchedule.squaredcos_cap_v2()
MEAN, DEVIATION = 0.4, 0.25
STEPS = (25, 50, 100, 200)
POINTS = np.linspace(-2.5, 2.5, 11)  # standard deviations from the mean


def level(timestep: int) -> tuple[float, float]:
    """(alpha, sigma) at a timestep."""
    bar = float(SCHEDULE.alphas_cumprod[timestep])
    return bar**0.5, (1 - bar) ** 0.5


def best(timestep: int) -> tuple[float, float]:
    """(offset, slope) of the best prediction of x_0 from x at a timestep."""
    alpha, sigma = level(timestep)
    slope = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
    return MEAN - slope * alpha * MEAN, slope


def flowed(points: Float64Array, timestep: int | None) -> Float64Array:
    """Where the probability flow has the points; None is the picture itself."""
    alpha, sigma = (1.0, 0.0) if timestep is None else level(timestep)
    where: Float64Array = alpha * MEAN + np.sqrt(alpha**2 * DEVIATION**2 + sigma**2) * points
    return where


def noise_predicted(x: Float64Array, timestep: int) -> Float64Array:
    """What a perfect network says of x."""
    (alpha, sigma), (offset, slope) = level(timestep), best(timestep)
    noise: Float64Array = (x - alpha * (offset + slope * x)) / sigma
    return noise


def walked(table: SamplerTable, x: Float64Array) -> Float64Array:
    """The end of a walk without noise."""
    assert not table.sigma.any()
    before = np.zeros_like(x)
    for i, timestep in enumerate(table.timesteps):
        x0 = table.c_skip[i] * x + table.c_out[i] * noise_predicted(x, int(timestep))
        x, before = table.c_x[i] * x + table.c_x0[i] * x0 + table.c_x0_before[i] * before, x0
    return x


def moments(table: SamplerTable) -> tuple[float, float]:
    """(mean, standard deviation) of what a walk from N(0, 1) ends with, exactly: x and x0_before as one Gaussian."""
    mean, covariance = np.zeros(2), np.diag([1.0, 0.0])
    for i, timestep in enumerate(table.timesteps):
        offset, slope = best(int(timestep))
        move = np.array([[table.c_x[i] + table.c_x0[i] * slope, table.c_x0_before[i]], [slope, 0.0]])
        mean = move @ mean + np.array([table.c_x0[i] * offset, offset])
        covariance = move @ covariance @ move.T + np.diag([table.sigma[i] ** 2, 0.0])
    return float(mean[0]), float(covariance[0, 0] ** 0.5)


def table_of(sampler: SamplerName, steps: int, eta: float = 0.0) -> SamplerTable:
    return sampler_table(sampler, SCHEDULE, steps, clip=float("inf"), eta=eta)


def errors_of_moments(sampler: SamplerName, eta: float) -> list[float]:
    """Distance to the truth at more and more steps, in standard deviations."""
    ends = [moments(table_of(sampler, steps, eta)) for steps in STEPS]
    return [(abs(mean - MEAN) + abs(deviation - DEVIATION)) / DEVIATION for mean, deviation in ends]


def ratios(errors: list[float]) -> list[float]:
    """How much less each doubling of the steps leaves: near 2 at first order, near 4 at second."""
    return [more / less for more, less in pairwise(errors)]


@pytest.mark.parametrize(("sampler", "eta"), [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0)])
def test_what_first_order_samplers_draw_nears_the_truth_as_steps_double(sampler: SamplerName, eta: float) -> None:
    errors = errors_of_moments(sampler, eta)
    assert all(1.6 < ratio < 2.2 for ratio in ratios(errors)), errors
    assert moments(table_of(sampler, 1000, eta)) == pytest.approx((MEAN, DEVIATION), rel=0.01)


def test_what_the_second_order_solver_draws_is_nearer_at_as_many_steps() -> None:
    errors, first_order = errors_of_moments("dpm++2m", 0.0), errors_of_moments("ddim", 0.0)
    assert all(error < 0.3 * other for error, other in zip(errors, first_order, strict=True)), errors
    assert errors[-1] < 0.001


def errors_of_walks(sampler: SamplerName) -> list[float]:
    """The largest distance to where the flow ends, at more and more steps, in standard deviations."""
    start, end = flowed(POINTS, 999), flowed(POINTS, None)
    return [float(np.abs(walked(table_of(sampler, steps), start) - end).max()) / DEVIATION for steps in STEPS]


def test_a_first_order_walk_nears_the_end_of_the_probability_flow_as_steps_double() -> None:
    errors = errors_of_walks("ddim")
    assert all(1.8 < ratio < 2.2 for ratio in ratios(errors)), errors
    assert errors[-1] < 0.04


def test_a_second_order_walk_ends_nearer_at_as_many_steps() -> None:
    errors, first_order = errors_of_walks("dpm++2m"), errors_of_walks("ddim")
    assert all(error < 0.3 * other for error, other in zip(errors, first_order, strict=True)), errors
    assert errors[-1] < 0.001


def test_inversion_finds_the_noise_that_the_probability_flow_came_from() -> None:
    start, end = flowed(POINTS, 999), flowed(POINTS, None)
    errors = [float(np.abs(walked(inversion_table(SCHEDULE, steps), end) - start).max()) for steps in STEPS]
    assert all(1.8 < ratio < 2.2 for ratio in ratios(errors)), errors
    assert errors[-1] < 0.05  # where noise has a standard deviation of 1, at points up to 2.5 of them away


def test_a_picture_inverted_and_decoded_again_comes_back_the_closer_the_more_steps_are_taken() -> None:
    errors = [error_of_return(steps, passes=1) for steps in STEPS]
    assert all(1.8 < ratio < 2.2 for ratio in ratios(errors)), errors
    assert errors[-1] < 0.02


@pytest.mark.parametrize("steps", [12, *STEPS])
def test_every_further_pass_of_an_inversions_steps_brings_the_picture_nearer(steps: int) -> None:
    errors = [error_of_return(steps, passes) for passes in (1, 2, 3, 8)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < errors[1]
    assert errors[3] < 0.1 * errors[0]  # all steps but that to x_T, where all is noise, have found their fixed point


def error_of_return(steps: int, passes: int) -> float:
    """How far pictures, inverted and decoded again, end from themselves at most."""
    pictures = flowed(POINTS, None)
    noise = walked(inversion_table(SCHEDULE, steps, passes=passes), pictures)
    return float(np.abs(walked(table_of("ddim", steps), noise) - pictures).max())
