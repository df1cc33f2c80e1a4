"""Noise schedules against diffusers', the cosine one against its closed form too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler, betas_for_alpha_bar
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.diffusion.schedule import BETA_SCHEDULES, NoiseSchedule


def test_signal_left_follows_the_squared_cosine_until_the_last_beta_is_capped() -> None:
    schedule = NoiseSchedule.squaredcos_cap_v2()

    def squared_cosine(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [squared_cosine((t + 1) / 1000) / squared_cosine(0) for t in range(999)]
    np.testing.assert_allclose(schedule.alphas_cumprod[:999], expected, rtol=1e-10)
    assert schedule.betas[999] == 0.999


@pytest.mark.parametrize("steps", [2, 100, 1000])
def test_betas_are_those_of_diffusers(steps: int) -> None:
    ours = NoiseSchedule.squaredcos_cap_v2(steps).betas
    np.testing.assert_allclose(ours, betas_for_alpha_bar(steps).numpy(), rtol=1e-6)


def test_tables_keep_the_small_end_that_float32_loses() -> None:
    schedule = NoiseSchedule.squaredcos_cap_v2()
    assert 1 - schedule.alphas_cumprod[0] == pytest.approx(schedule.betas[0], rel=1e-10)
    assert float(1 - UnCLIPScheduler().alphas_cumprod[0]) != pytest.approx(schedule.betas[0], rel=1e-5)


@given(steps=st.integers(2, 1500))
@settings(max_examples=25)
def test_signal_only_ever_fades(steps: int) -> None:
    schedule = NoiseSchedule.squaredcos_cap_v2(steps)
    assert schedule.num_train_timesteps == steps
    assert (np.diff(schedule.alphas_cumprod) < 0).all()
    assert 0 < schedule.alphas_cumprod[-1] < schedule.alphas_cumprod[0] < 1


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(("steps", "start", "end"), [(1000, 0.0001, 0.02), (1000, 0.00085, 0.012), (50, 0.01, 0.3)])
def test_every_schedule_is_the_one_diffusers_knows_by_its_name(name: str, steps: int, start: float, end: float) -> None:
    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule=name, beta_start=start, beta_end=end)
    ours = BETA_SCHEDULES[name](steps, start, end)
    np.testing.assert_allclose(ours.betas, theirs.betas.numpy(), rtol=1e-6)
    # Of the last beta of a cosine, 0.999, float32 leaves four digits to 1 - beta.
    np.testing.assert_allclose(ours.alphas_cumprod, theirs.alphas_cumprod.numpy(), rtol=2e-5)
