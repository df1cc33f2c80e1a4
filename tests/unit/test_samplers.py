"""Sampler tables against diffusers' schedulers, step by step and in float64, and against what theory says of them."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_unclip
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.walking import assert_paths_agree, normal, walk
from unclip.diffusion import samplers
from unclip.diffusion.inversion import inversion_table
from unclip.diffusion.respace import spaced_timesteps
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.options import SAMPLERS, SamplerName

SCHEDULE = NoiseSchedule.squaredcos_cap_v2()
BARS = SCHEDULE.alphas_cumprod
EVEN = [
    4,
    10,
    28,
    112,
    1000,
]  # numbers of steps whose timesteps lie exactly evenly, as diffusers' DDIM has to have them
SHAPE = (2, 3, 4)


def denoised(x: torch.Tensor, t: int) -> torch.Tensor:
    """A toy network's x0: no linear function of x, and beyond the clamp in places."""
    return 1.5 * torch.tanh(0.7 * x + np.cos(t))


def predicted_noise(x: torch.Tensor, t: int) -> torch.Tensor:
    """The same network asked for the noise."""
    return torch.as_tensor((x - np.sqrt(BARS[t]) * denoised(x, t)) / np.sqrt(1 - BARS[t]))


def exact(scheduler: Any) -> Any:
    """A scheduler of diffusers with its tables in float64."""
    scheduler.betas = torch.from_numpy(SCHEDULE.betas)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    return scheduler


def test_every_sampler_of_the_contract_has_its_function() -> None:
    assert tuple(samplers.SAMPLERS) == SAMPLERS


@pytest.mark.parametrize("steps", range(2, 1001, 37))
def test_timesteps_are_those_of_the_unclip_scheduler(steps: int) -> None:
    scheduler = scheduling_unclip.UnCLIPScheduler()
    scheduler.set_timesteps(steps)
    assert spaced_timesteps(steps).tolist() == scheduler.timesteps.tolist()


@given(st.integers(1, 1000))
def test_timesteps_fall_from_the_noisiest(steps: int) -> None:
    timesteps = spaced_timesteps(steps)
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert (np.diff(timesteps) < 0).all()
    assert steps == 1 or timesteps[-1] == 0


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 1000, got {steps}"):
        spaced_timesteps(steps)


@pytest.mark.parametrize("steps", [2, 3, 5, 25, 100, 1000])
@pytest.mark.parametrize(
    ("prediction", "variance", "clip"),
    [
        ("epsilon", "fixed_small_log", 1.0),
        ("epsilon", "learned_range", 1.0),
        ("sample", "fixed_small_log", 5.0),
        ("sample", "fixed_small_log", 0.5),
        ("epsilon", "learned_range", math.inf),
        ("epsilon", "fixed_small_log", math.inf),
        ("sample", "fixed_small_log", math.inf),
    ],
)
def test_ddpm_walks_as_the_unclip_scheduler_does(steps: int, prediction: Any, variance: Any, clip: float) -> None:
    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        out = (denoised if prediction == "sample" else predicted_noise)(x, t)
        return torch.cat([out, torch.sin(5 * x)], dim=1) if variance == "learned_range" else out

    scheduler = exact(
        scheduling_unclip.UnCLIPScheduler(
            prediction_type=prediction,
            variance_type=variance,
            clip_sample=clip < math.inf,
            clip_sample_range=min(clip, 1e3),
        )
    )
    scheduler.set_timesteps(steps)
    timesteps = [*scheduler.timesteps, None]
    x, noise, path = normal(0, *SHAPE), normal(1, steps, *SHAPE), []
    for i, t in enumerate(timesteps[:-1]):
        with patch.object(scheduling_unclip, "randn_tensor", lambda *_, i=i, **__: noise[i]):
            x = scheduler.step(network(x, int(t)), t, x, prev_timestep=timesteps[i + 1]).prev_sample
        path.append(x)
    table = sampler_table("ddpm", SCHEDULE, steps, prediction=prediction, variance=variance, clip=clip)
    assert_paths_agree(walk(table, network, normal(0, *SHAPE), noise), path)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", EVEN)
def test_ddim_walks_as_diffusers_does_with_the_noise_of_the_clamped_prediction(steps: int, eta: float) -> None:
    scheduler = exact(DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True))
    scheduler.num_inference_steps = steps - 1  # it steps by T // this
    x, noise, path = normal(2, *SHAPE), normal(3, steps, *SHAPE), []
    for i, t in enumerate(spaced_timesteps(steps)):
        out = predicted_noise(x, t)
        x = scheduler.step(out, int(t), x, eta=eta, use_clipped_model_output=True, variance_noise=noise[i]).prev_sample
        path.append(x)
    table = sampler_table("ddim", SCHEDULE, steps, eta=eta)
    assert_paths_agree(walk(table, predicted_noise, normal(2, *SHAPE), noise), path)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 14, 15, 25, 60])
def test_dpm_solver_walks_as_diffusers_does_but_for_the_wide_step_to_the_last_timestep(steps: int) -> None:
    scheduler = exact(
        DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2", algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
        )
    )
    scheduler.set_timesteps(timesteps=spaced_timesteps(steps).tolist())
    bars = BARS[spaced_timesteps(steps)]
    scheduler.sigmas = torch.from_numpy(np.append(np.sqrt((1 - bars) / bars), 0.0))  # it rounds them to float32
    x, path = normal(4, *SHAPE), list[torch.Tensor]()
    for t in scheduler.timesteps:
        if len(path) == steps - 2 and steps > 3:
            scheduler.lower_order_nums = 0  # as at its first step: there is no history
        x = scheduler.step(predicted_noise(x, int(t)), t, x).prev_sample
        path.append(x)
    table = sampler_table("dpm++2m", SCHEDULE, steps, clip=float("inf"))
    # It carries x from step to step in float32.
    assert_paths_agree(walk(table, predicted_noise, normal(4, *SHAPE)), path, 1e-4)


@given(steps=st.integers(1, 1000))
def test_dpm_solver_goes_no_further_beyond_a_prediction_than_it_moved_since_the_last(steps: int) -> None:
    """Else it magnifies the network's errors: the step to t = 0 once did by 2.5, and pictures were grainy."""
    table = sampler_table("dpm++2m", SCHEDULE, steps)
    gain = table.c_x0 + table.c_x0_before
    assert (-table.c_x0_before <= gain).all()


@pytest.mark.parametrize("passes", [1, 2, 3])
@pytest.mark.parametrize("steps", EVEN)
def test_inversion_walks_as_diffusers_does(steps: int, passes: int) -> None:
    """Which takes a step anew, from where it began, with the noise that is found where it led."""
    scheduler = exact(DDIMInverseScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False))
    scheduler.num_inference_steps = steps - 1
    x, path = normal(5, *SHAPE), []
    for t in spaced_timesteps(steps)[::-1]:
        before = x
        for _ in range(passes):
            x = scheduler.step(predicted_noise(x, int(t)), int(t), before).prev_sample
            path.append(x)
    assert_paths_agree(walk(inversion_table(SCHEDULE, steps, passes=passes), predicted_noise, normal(5, *SHAPE)), path)


@given(sampler=st.sampled_from(SAMPLERS), steps=st.integers(1, 1000), eta=st.floats(0, 1))
def test_every_step_leaves_the_signal_and_noise_that_its_timestep_has(
    sampler: SamplerName, steps: int, eta: float
) -> None:
    """Given the true x0, x stays at sqrt(bar) x0 + sqrt(1 - bar) noise, whichever way it walks."""
    table = sampler_table(sampler, SCHEDULE, steps, eta=eta)
    here = BARS[table.timesteps]
    after = np.append(here[1:], 1.0)
    signal = table.c_x * np.sqrt(here) + table.c_x0 + table.c_x0_before
    np.testing.assert_allclose(signal, np.sqrt(after), rtol=1e-9)
    np.testing.assert_allclose(table.c_x**2 * (1 - here) + table.sigma**2, 1 - after, rtol=1e-9, atol=1e-12)


@given(steps=st.integers(1, 1000))
def test_every_step_of_an_inversion_leaves_the_signal_and_noise_that_its_timestep_has(steps: int) -> None:
    table = inversion_table(SCHEDULE, steps, passes=1)
    there = BARS[table.timesteps]
    here = np.append(1.0, there[:-1])
    np.testing.assert_allclose(table.c_x * np.sqrt(here), np.sqrt(there), rtol=1e-9)
    np.testing.assert_allclose(table.c_x * np.sqrt(1 - here) + table.c_x0, np.sqrt(1 - there), rtol=1e-9)


@given(steps=st.integers(1, 1000))
def test_ddim_at_eta_1_is_ddpm(steps: int) -> None:
    """Song et al. 2020, section 4.1."""
    ddim, ddpm = sampler_table("ddim", SCHEDULE, steps, eta=1.0), sampler_table("ddpm", SCHEDULE, steps)
    for name in ("c_x", "c_x0", "sigma"):
        np.testing.assert_allclose(getattr(ddim, name), getattr(ddpm, name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_alone_ends_at_the_clamped_prediction(sampler: SamplerName) -> None:
    x = normal(6, *SHAPE)
    [end] = walk(sampler_table(sampler, SCHEDULE, 1, eta=1.0), predicted_noise, x, normal(7, 1, *SHAPE))
    torch.testing.assert_close(end, denoised(x, 999).clamp(-1, 1), rtol=1e-9, atol=1e-9)


def test_one_step_alone_adds_no_learned_noise() -> None:
    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        return torch.cat([predicted_noise(x, t), torch.ones_like(x)], dim=1)

    x = normal(8, *SHAPE)
    [end] = walk(sampler_table("ddpm", SCHEDULE, 1, variance="learned_range"), network, x, normal(9, 1, *SHAPE))
    torch.testing.assert_close(end, denoised(x, 999).clamp(-1, 1), rtol=1e-9, atol=1e-9)


@given(steps=st.integers(2, 1000))
def test_learned_variance_lies_between_the_posteriors_and_beta(steps: int) -> None:
    table = sampler_table("ddpm", SCHEDULE, steps, variance="learned_range")
    fixed = sampler_table("ddpm", SCHEDULE, steps)
    noisy = table.timesteps > 0
    np.testing.assert_array_equal(table.sigma, noisy.astype(np.float64))
    np.testing.assert_allclose(np.exp(table.log_variance_low[noisy] / 2), fixed.sigma[noisy], rtol=1e-12)
    assert (table.log_variance_low < table.log_variance_high).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "euler"}, "sampler must be one of ddpm, ddim, dpm"),
        ({"prediction": "score"}, "prediction must be epsilon, sample or v_prediction"),
        ({"steps": 0}, "steps must be 1 to 1000"),
    ],
)
def test_an_unknown_rule_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler_table(**{"sampler": "ddpm", "schedule": SCHEDULE, "steps": 5, **arguments})
