"""Processes read from schedulers' configs, walked beside diffusers' own classes made from the same configs.

Twice: all in float64, to nine digits; and with x and what the network says of it in float32, beside the update that
the engine runs. Their schedules are computed in float64 both times: rounded to float32, as diffusers has them, they
alone move paths by up to 2e-5, and over the cosine by 4e-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm, scheduling_unclip
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

from tests.kandinsky import DECODER_SCHEDULER as KANDINSKY
from tests.stable_unclip import SCHEDULER as STABLE_UNCLIP
from tests.unit.scheduler_configs import written
from tests.unit.walking import Toy, assert_paths_agree, normal, walk
from unclip.diffusion.inpainting import resampled
from unclip.diffusion.noise import NoiseKey, Stream, gaussian
from unclip.diffusion.process import Process
from unclip.diffusion.table import SamplerTable, Threshold
from unclip.diffusion.update import Course, advance
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.networks.interface import Tensors
from unclip.options import SamplingSettings

WALKS = [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.5), ("dpm++2m", 0.0)]
OF = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "dpm++2m": DPMSolverMultistepScheduler}
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
BETAS = {
    "linear": {"beta_start": 0.00085, "beta_end": 0.012},
    "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {},
}
SPACINGS = [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)]
STEPS = [2, 7, 20]
LIMITS: list[dict[str, Any]] = [
    {"clip_sample": True},
    {"clip_sample": False},
    {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.3},
]
SHAPE = (2, 3, 4)


def asked(process: Process) -> Toy:
    """One toy network, its x0 no linear function of x and beyond the clamp in places, asked for what is predicted."""

    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        bar = process.schedule.alphas_cumprod[t]
        signal, level = np.sqrt(bar), np.sqrt(1 - bar)
        x0 = 1.5 * torch.tanh(0.7 * x.double() + np.cos(t))
        noise = (x.double() - signal * x0) / level
        out = {"sample": x0, "epsilon": noise, "v_prediction": signal * noise - level * x0}[process.prediction]
        out = torch.cat([out, torch.sin(5 * x.double())], dim=1) if process.variance == "learned_range" else out
        return out.to(x.dtype)

    return network


@contextmanager
def in_float64() -> Iterator[None]:
    """Has diffusers compute in float64 what it insists to have in float32."""
    with patch.object(torch, "float32", torch.float64):
        yield


class Gap:
    """A number of steps by which DDIMScheduler, which steps by ``T // steps``, gets to the timestep it visits next."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __rfloordiv__(self, _: int) -> int:
        return self.width


def theirs(
    scheduler: Any, network: Toy, sampler: str, eta: float, steps: int, x: torch.Tensor, noise: torch.Tensor
) -> list[torch.Tensor]:
    """The path of diffusers' own class; noise: one row per step.

    It differs from ours by intent where DDIMScheduler derives no noise anew from what was clamped, and steps elsewhere
    than to the timestep it visits next; where DDPMScheduler adds noise to the finished picture, as it does if the last
    timestep is not 0; and where DPMSolverMultistepScheduler extrapolates over a wide step. There it is told better.
    """
    scheduler.set_timesteps(steps)
    timesteps = [int(t) for t in scheduler.timesteps]
    if sampler == "dpm++2m":  # its spacings are its own
        ddpm = DDPMScheduler(
            timestep_spacing=scheduler.config.timestep_spacing, steps_offset=scheduler.config.steps_offset
        )
        ddpm.set_timesteps(steps)
        timesteps = [int(t) for t in ddpm.timesteps]
        scheduler.set_timesteps(timesteps=timesteps)
        bars = scheduler.alphas_cumprod[timesteps]
        scheduler.sigmas = torch.cat([((1 - bars) / bars).sqrt(), torch.zeros(1)])  # it rounds them to float32
        widths = -scheduler.sigmas[:-1].double().log().diff()
    path = []
    for i, t in enumerate(timesteps):
        out = network(x, t)
        last = i == steps - 1
        fresh = torch.zeros_like(x) if last else noise[i]
        if sampler == "ddpm":
            with patch.object(scheduling_ddpm, "randn_tensor", lambda *_, fresh=fresh, **__: fresh):
                x = scheduler.step(out, t, x).prev_sample
        elif sampler == "ddim":
            scheduler.num_inference_steps = Gap(t + 1 if last else t - timesteps[i + 1])
            x = scheduler.step(out, t, x, eta=eta, use_clipped_model_output=True, variance_noise=noise[i]).prev_sample
        else:
            if 0 < i < steps - 1 and widths[i] > 2 * widths[i - 1]:
                scheduler.lower_order_nums = 0  # as at its first step: there is no history
            x = scheduler.step(out, scheduler.timesteps[i], x).prev_sample
        path.append(x)
    return path


def configured(sampler: str, prediction: str, betas: str, spacing: tuple[str, int], **more: Any) -> Any:
    """diffusers' class, told so."""
    name, offset = spacing
    options = {"beta_schedule": betas, **BETAS[betas], "timestep_spacing": name, "steps_offset": offset}
    return OF[sampler](prediction_type=prediction, **options, **more)


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("sampler", "eta"), WALKS)
def test_a_process_walks_as_diffusers_class_of_its_config_does(
    sampler: Any, eta: float, prediction: str, betas: str
) -> None:
    for spacing in SPACINGS:
        for more in LIMITS if sampler != "dpm++2m" else [{}, LIMITS[2]]:
            with in_float64():
                scheduler = configured(sampler, prediction, betas, spacing, **more)
                process = Process.from_config(written(scheduler))
                for steps in STEPS:
                    x, noise = normal(1, *SHAPE), normal(2, steps, *SHAPE)
                    table = process.table(SamplingSettings(sampler, steps, eta=eta))
                    path = theirs(scheduler, asked(process), sampler, eta, steps, x, noise)
                    assert_paths_agree(walk(table, asked(process), x, noise), path)


class Row:
    """A trajectory in the engine's own arithmetic."""

    def __init__(self, seed: int, table: SamplerTable, network: Toy) -> None:
        self.key, self.network = (seed, Stream.DECODER, 0), network
        self.job = Trajectory(("toy",), table, SHAPE[1:], torch.device("cpu"), {}, seed=seed)
        self.start, self.path = self.job.x[None], list[torch.Tensor]()

    @property
    def noise(self) -> torch.Tensor:
        return torch.stack([gaussian([NoiseKey(*self.key, i + 1)], SHAPE[1:]) for i in range(self.job.length)])


def move(rows: list[Row]) -> None:
    """All of them at once, to their ends."""
    while left := [row for row in rows if len(row.path) < row.job.length]:

        def networks(inputs: Tensors, left: list[Row] = left) -> torch.Tensor:
            at = zip(left, inputs["sample"], inputs["timestep"], strict=True)
            return torch.cat([row.network(x[None], int(t)) for row, x, t in at])

        TrajectoryProgram(networks).tick([row.job for row in left])
        for row in left:
            row.path.append(row.job.x[None])
            row.job.position += 1


@pytest.mark.parametrize(("sampler", "eta"), WALKS)
def test_rows_of_all_processes_move_in_one_batch_each_as_diffusers_moves_it_in_float32(
    sampler: Any, eta: float
) -> None:
    """All but noise predicted over the cosine, whose x0 at t = 999 is 20000 (x - eps): float32 says little of it."""
    settings = SamplingSettings(sampler, 10, eta=eta)
    with in_float64():
        schedulers = [
            configured(sampler, prediction, betas, spacing, **more)
            for prediction in PREDICTIONS
            for betas in BETAS
            for spacing in SPACINGS
            for more in (LIMITS if sampler != "dpm++2m" else [{}, LIMITS[2]])
            if (prediction, betas) != ("epsilon", "squaredcos_cap_v2")
        ]
    processes = [Process.from_config(written(scheduler)) for scheduler in schedulers]
    rows = [Row(seed, process.table(settings), asked(process)) for seed, process in enumerate(processes)]
    move(rows)
    for row, scheduler in zip(rows, schedulers, strict=True):
        path = theirs(scheduler, row.network, sampler, eta, 10, row.start, row.noise)
        for one, other in zip(row.path, path, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("steps", [1, 10, 25, 50])
def test_kandinskys_decoder_walks_as_its_scheduler_does(steps: int) -> None:
    with in_float64():
        scheduler, process = DDPMScheduler.from_config(KANDINSKY), Process.from_config(KANDINSKY)
        x, noise = normal(3, *SHAPE), normal(4, steps, *SHAPE)
        path = theirs(scheduler, asked(process), "ddpm", 0.0, steps, x, noise)
    assert process.threshold == Threshold(0.995, 2.0)
    assert_paths_agree(walk(process.table(SamplingSettings("ddpm", steps)), asked(process), x, noise), path)


@pytest.mark.parametrize(("sampler", "eta"), WALKS)
@pytest.mark.parametrize("steps", [1, 20, 500])
def test_stable_unclips_config_is_walked_as_diffusers_does_after_the_scheduler_is_exchanged(
    sampler: Any, eta: float, steps: int
) -> None:
    """Of the three DDIM alone stops at the level of t = 0, as set_alpha_to_one has it."""
    with in_float64():
        # Left to itself DPMSolverMultistepScheduler would space them by a default of its own.
        scheduler = OF[sampler].from_config(STABLE_UNCLIP, timestep_spacing="leading")
        process = Process.from_config(STABLE_UNCLIP)
        x, noise = normal(5, *SHAPE), normal(6, steps, *SHAPE)
        path = theirs(scheduler, asked(process), sampler, eta, steps, x, noise)
        table = process.table(SamplingSettings(sampler, steps, eta=eta))
    assert_paths_agree(walk(table, asked(process), x, noise), path)
    assert (table.known_signal[-1] ** 2 < 1) == (sampler == "ddim")


@pytest.mark.parametrize("steps", [2, 25])
@pytest.mark.parametrize(
    "options",
    [
        {"prediction_type": "sample", "clip_sample_range": 5.0},
        {"prediction_type": "epsilon", "variance_type": "learned_range"},
        {"clip_sample": False, "num_train_timesteps": 50},
    ],
)
def test_a_process_of_the_unclip_scheduler_walks_as_it_does(options: dict[str, Any], steps: int) -> None:
    with in_float64():
        scheduler = UnCLIPScheduler(**options)
        process = Process.from_config(written(scheduler))
        scheduler.set_timesteps(steps)
        timesteps = [*scheduler.timesteps, None]
        x, noise, path = normal(7, *SHAPE), normal(8, steps, *SHAPE), []
        for i, t in enumerate(timesteps[:-1]):
            with patch.object(scheduling_unclip, "randn_tensor", lambda *_, i=i, **__: noise[i]):
                x = scheduler.step(asked(process)(x, int(t)), t, x, prev_timestep=timesteps[i + 1]).prev_sample
            path.append(x)
    table = process.table(SamplingSettings("ddpm", steps))
    assert_paths_agree(walk(table, asked(process), normal(7, *SHAPE), noise), path)


def test_thresholded_rows_and_others_share_a_batch_and_nobody_notices() -> None:
    limits = [LIMITS[2], LIMITS[0], {"thresholding": True}, LIMITS[1], KANDINSKY]
    configs: list[dict[str, Any]] = [{"_class_name": "DDIMScheduler", **limit} for limit in limits]
    tables = [Process.from_config(config).table(SamplingSettings("ddim", 10)) for config in configs]
    x, out = 3 * normal(9, 5, 3, 8, 8).float(), normal(10, 5, 3, 8, 8).float()
    courses = [Course.of(table, (i, Stream.DECODER, 0), torch.device("cpu")) for i, table in enumerate(tables)]
    _, together = advance(x, out, torch.zeros_like(x), courses, [4] * 5)
    for i, config in enumerate(configs):
        one = slice(i, i + 1)
        _, alone = advance(x[one], out[one], torch.zeros_like(x[one]), courses[one], [4])
        assert torch.equal(alone[0], together[i])
        if config.get("thresholding"):
            free = tables[i].c_skip[4] * x[one] + tables[i].c_out[4] * out[one]
            expected = DDPMScheduler.from_config(config)._threshold_sample(free)
            torch.testing.assert_close(together[one], expected, rtol=1e-5, atol=1e-6)
            assert together[i].abs().max() == 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("passes", [1, 2])
def test_one_network_is_inverted_one_way_whatever_it_is_asked_to_predict(
    passes: int, prediction: str, spacing: tuple[str, int]
) -> None:
    """That of DDIMInverseScheduler for noise. For the others that goes by x's own level, and so divides by 0 at x_0."""
    for set_alpha_to_one in (True, False):
        options = {"set_alpha_to_one": set_alpha_to_one, "thresholding": True}  # which an inversion must not
        with in_float64():
            process = Process.from_config(written(configured("ddim", prediction, "linear", spacing, **options)))
            noisy = Process.from_config(written(configured("ddim", "epsilon", "linear", spacing, **options)))
            scheduler: Any = DDIMInverseScheduler(
                beta_schedule="linear", **BETAS["linear"], set_alpha_to_one=set_alpha_to_one, clip_sample=False
            )
            timesteps = noisy.spacing.timesteps(20)[::-1]
            x, path = 3 * normal(11, *SHAPE), []
            for before, t in zip([-1, *timesteps[:-1]], timesteps, strict=True):
                scheduler.num_inference_steps = Gap(int(t - before))
                began = x
                for _ in range(passes):
                    x = scheduler.step(asked(noisy)(x, int(t)), int(t), began).prev_sample
                    path.append(x)
        assert_paths_agree(walk(process.inversion(20, passes), asked(process), 3 * normal(11, *SHAPE)), path)


@pytest.mark.parametrize("resampling", [1, 3])
def test_known_pixels_end_at_the_level_that_the_walk_stops_at(resampling: int) -> None:
    process = Process.from_config(STABLE_UNCLIP)
    table = resampled(process.table(SamplingSettings("ddim", 10)), process.schedule, resampling)
    assert table.known_signal[-1] ** 2 == pytest.approx(process.final_alpha_bar, rel=1e-12)
    assert process.final_alpha_bar < 1


@pytest.mark.parametrize("config", [STABLE_UNCLIP, {**KANDINSKY, "prediction_type": "sample"}])
def test_what_was_inverted_is_drawn_again_the_better_the_more_steps(config: dict[str, Any]) -> None:
    """Of data N(0.2, 0.5^2), where the best prediction is known."""
    process = Process.from_config({**config, "thresholding": False})

    def best(x: torch.Tensor, t: int) -> torch.Tensor:
        bar = process.schedule.alphas_cumprod[t]
        signal, level = np.sqrt(bar), np.sqrt(1 - bar)
        noise = level * (x - signal * 0.2) / (bar * 0.25 + 1 - bar)
        x0 = (x - level * noise) / signal
        return torch.as_tensor(signal * noise - level * x0 if process.prediction == "v_prediction" else x0)

    data, errors = 0.2 + 0.5 * normal(12, 1000), []
    for steps in (50, 200, 500):
        noise = walk(process.inversion(steps), best, data)[-1]
        again = walk(process.table(SamplingSettings("ddim", steps)), best, noise)[-1]
        errors.append((again - data).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2 / 255
    assert (noise - (data - 0.2) / 0.5).abs().max() < 0.3  # and in between it was noise
