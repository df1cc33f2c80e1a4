"""The samplers, one function each, found by name: from the steps of a trajectory to the coefficients of each step.

To add one: write its function, and its value of ``Sampler`` in protos/unclip/api/type/v1/sampling.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unclip.diffusion.respace import UNCLIP_SPACING, Respaced, Spacing
from unclip.diffusion.schedule import Float64Array, NoiseSchedule
from unclip.diffusion.table import Coefficients, Prediction, SamplerTable, Threshold, to_x0
from unclip.options import SamplerName

Variance = Literal["fixed_small_log", "learned_range"]

SMALLEST_VARIANCE = 1e-20  # as diffusers' UnCLIPScheduler clamps before taking the logarithm


@dataclass(frozen=True)
class FreshNoise:
    """How much noise the steps add, where a sampler leaves that open.

    eta: 0 to 1, as in DDIM. variance: DDPM's, the posterior's ("fixed_small_log") or learned between it and beta.
    """

    eta: float = 0.0
    variance: Variance = "fixed_small_log"


Rule = Callable[[Respaced, FreshNoise], Coefficients]


@dataclass(frozen=True)
class Sampler:
    """rule: its function. stops_short: whether it ends at a schedule's final alpha_bar rather than without noise."""

    rule: Rule
    stops_short: bool


SAMPLERS: dict[SamplerName, Sampler] = {}


def sampler(name: SamplerName, *, stops_short: bool = False) -> Callable[[Rule], Rule]:
    """Registers a function under its name: that of the contract, DPMPP_2M as dpm++2m."""

    def register(function: Rule) -> Rule:
        SAMPLERS[name] = Sampler(function, stops_short)
        return function

    return register


@sampler("ddpm")
def ddpm(at: Respaced, fresh: FreshNoise) -> Coefficients:
    """Ancestral sampling: Ho et al. 2020, arXiv 2006.11239, eq. 6-7; betas are re-derived for skipped timesteps."""
    beta = 1.0 - at.alpha_bar / at.alpha_bar_next
    c_x = np.sqrt(1 - beta) * (1 - at.alpha_bar_next) / (1 - at.alpha_bar)
    c_x0 = np.sqrt(at.alpha_bar_next) * beta / (1 - at.alpha_bar)
    posterior = (1 - at.alpha_bar_next) / (1 - at.alpha_bar) * beta
    low = np.log(np.maximum(posterior, SMALLEST_VARIANCE))
    noisy = at.alpha_bar_next < 1.0
    if fresh.variance == "learned_range":
        return Coefficients(c_x, c_x0, sigma=noisy.astype(np.float64), log_variance=(low, np.log(beta)))
    return Coefficients(c_x, c_x0, sigma=np.where(noisy, np.exp(low / 2), 0.0))


@sampler("ddim", stops_short=True)
def ddim(at: Respaced, fresh: FreshNoise) -> Coefficients:
    """Song et al. 2020, arXiv 2010.02502, eq. 12 and 16; eps is derived anew from the clamped x0.

    It alone obeys ``set_alpha_to_one``: diffusers' schedulers of the other two have no such setting.
    """
    here, after = at.alpha_bar, at.alpha_bar_next
    sigma = fresh.eta * np.sqrt((1 - after) / (1 - here)) * np.sqrt(1 - here / after)
    c_x = np.sqrt(np.maximum(1 - after - sigma**2, 0.0)) / np.sqrt(1 - here)
    return Coefficients(c_x, np.sqrt(after) - c_x * np.sqrt(here), sigma=sigma)


@sampler("dpm++2m")
def dpmpp_2m(at: Respaced, _: FreshNoise) -> Coefficients:
    """DPM-Solver++ (2M): Lu et al. 2022, arXiv 2211.01095, algorithm 2.

    First and last step are of first order: no history, and no noise left. So is one more than twice as wide in log-SNR
    as the step before it, as the one to t = 0 is unless steps are few: extrapolated that far, the difference of two
    predictions is mostly their errors, and pictures come out grainy.
    """
    here, after = at.alpha_bar, at.alpha_bar_next
    c_x = np.sqrt(1 - after) / np.sqrt(1 - here)
    # alpha_t (1 - exp(-h)) with exp(-h) = (sigma_t / alpha_t) / (sigma_s / alpha_s)
    gain = np.sqrt(after) - c_x * np.sqrt(here)
    width = _half_log_snr(after[:-1]) - _half_log_snr(here[:-1])
    slope = np.zeros(len(here))
    slope[1:-1] = np.where(width[1:] <= 2 * width[:-1], width[1:] / (2 * width[:-1]), 0.0)
    return Coefficients(c_x, gain * (1 + slope), -gain * slope)


def _half_log_snr(alpha_bar: Float64Array) -> Float64Array:
    return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))


def sampler_table(
    sampler: SamplerName,
    schedule: NoiseSchedule,
    steps: int,
    *,
    prediction: Prediction = "epsilon",
    variance: Variance = "fixed_small_log",
    clip: float = 1.0,
    threshold: Threshold | None = None,
    eta: float = 0.0,
    spacing: Spacing = UNCLIP_SPACING,
    final_alpha_bar: float = 1.0,
) -> SamplerTable:
    """The table of one sampler from x_T to x_0.

    Args:
        steps: network evaluations, 1 to T.
        prediction: what the network predicts.
        variance, eta: see `FreshNoise`.
        clip: limit of ``|x0|``: 1 for pixels, 5 for Karlo's prior.
        threshold: None for no dynamic thresholding.
        spacing: which timesteps it visits.
        final_alpha_bar: what samplers that stop short of x_0 stop at.

    Raises:
        ValueError: an unknown sampler or prediction, or steps is out of range.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    chosen = SAMPLERS[sampler]
    timesteps = spacing.timesteps(steps, schedule.num_train_timesteps)
    at = Respaced.denoising(schedule, timesteps, final_alpha_bar if chosen.stops_short else 1.0)
    rule = chosen.rule(at, FreshNoise(eta, variance))
    return SamplerTable.of(at, rule, to_x0(at.alpha_bar, prediction), clip, threshold)
