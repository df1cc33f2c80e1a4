"""The cosine schedule against its closed form and against diffusers'."""

from __future__ import annotations

import math

import numpy as np
import pytest
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler, betas_for_alpha_bar
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.diffusion.schedule import NoiseSchedule, clip_of
from unclip.errors import CheckpointError


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


def test_a_schedulers_own_config_gives_its_schedule() -> None:
    schedule = NoiseSchedule.from_config(dict(UnCLIPScheduler(num_train_timesteps=50).config))
    np.testing.assert_allclose(schedule.betas, betas_for_alpha_bar(50).numpy(), rtol=1e-6)


def test_an_empty_config_means_the_cosine_over_a_thousand_steps() -> None:
    np.testing.assert_array_equal(NoiseSchedule.from_config({}).betas, NoiseSchedule.squaredcos_cap_v2(1000).betas)


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "linear"},
        {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000},
        {"num_train_timesteps": 1},
        {"num_train_timesteps": "1000"},
        {"num_train_timesteps": 1000.0},
        {"num_train_timesteps": None},
    ],
)
def test_another_schedule_is_refused_by_name(config: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json.*squaredcos_cap_v2"):
        NoiseSchedule.from_config(config)


def test_a_prediction_is_clipped_to_the_range_of_its_scheduler_unless_that_clips_nothing() -> None:
    assert clip_of({}) == clip_of({"clip_sample_range": None}) == 1
    assert clip_of({"clip_sample": True, "clip_sample_range": 5.0}) == 5
    assert clip_of({"clip_sample": False, "clip_sample_range": 5.0}) == math.inf


@pytest.mark.parametrize(
    "config", [{"clip_sample": "no"}, {"clip_sample_range": 0}, {"clip_sample_range": -1.0}, {"clip_sample_range": "1"}]
)
def test_a_clip_that_is_none_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=r"clip_sample must be .* and clip_sample_range more than 0, got"):
        clip_of(config)
