"""A sampler as a table: everything it will do is known, in float64, before the first network evaluation.

Each step of DDPM, DDIM, DDIM inversion and DPM-Solver++ (2M) is

    x' = A x + B x0 + C x0_before + D noise,        x0 = clip(P x + Q out)
    x' = K known + L noise                          where the picture is known already

where ``out`` is the network's output, ``x0_before`` the previous step's prediction, and P, Q, A..D, K, L depend on
the step alone. Rows of a batch may thus differ in sampler, step count and position and still advance in one
vectorised update; see `unclip.diffusion.update`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from unclip.diffusion.schedule import Float64Array, NoiseSchedule
from unclip.options import SamplerName

Prediction = Literal["epsilon", "sample"]
Variance = Literal["fixed_small_log", "learned_range"]

SMALLEST_VARIANCE = 1e-20  # as diffusers' UnCLIPScheduler clamps before taking the logarithm


@dataclass(frozen=True, eq=False)
class SamplerTable:
    """One walk, step by step; every array has shape ``[n]``.

    timesteps: int64, what the network is told. from_x, from_out: P and Q. keep, predicted, before, noise: A, B, C, D.
    signal, spread: K and L, how much signal and noise x' has.
    renoise: deviation of noise added to that of D, see `unclip.diffusion.inpainting`; D is ``hypot(noise, renoise)``.
    clip: limit of ``|x0|``, infinite where nothing is clamped.
    learned: whether ``noise`` is but the factor of ``exp(log_variance / 2)``, 0 switching it off, with the logarithm
    interpolated between ``log_low`` and ``log_high`` by the network's second half.
    """

    timesteps: npt.NDArray[np.int64]
    from_x: Float64Array
    from_out: Float64Array
    keep: Float64Array
    predicted: Float64Array
    before: Float64Array
    noise: Float64Array
    renoise: Float64Array
    signal: Float64Array
    spread: Float64Array
    log_low: Float64Array
    log_high: Float64Array
    clip: float
    learned: bool

    def __len__(self) -> int:
        """Network evaluations of the walk."""
        return len(self.timesteps)


def spaced_timesteps(steps: int, num_train_timesteps: int = 1000) -> npt.NDArray[np.int64]:
    """``[steps]`` timesteps from T - 1 down to 0, evenly spaced and rounded, as unCLIP spaces them.

    One step alone is the noisiest, T - 1: diffusers' formula divides by zero there.

    Raises:
        ValueError: steps is not in 1..T.
    """
    last = num_train_timesteps - 1
    if not 1 <= steps <= num_train_timesteps:
        raise ValueError(f"steps must be 1 to {num_train_timesteps}, got {steps}")
    if steps == 1:
        return np.array([last], dtype=np.int64)
    ratio = last / (steps - 1)
    return (np.arange(steps) * ratio).round()[::-1].astype(np.int64)


def sampler_table(
    sampler: SamplerName,
    schedule: NoiseSchedule,
    steps: int,
    *,
    prediction: Prediction = "epsilon",
    variance: Variance = "fixed_small_log",
    clip: float = 1.0,
    eta: float = 0.0,
) -> SamplerTable:
    """The table of one sampler from x_T to x_0.

    Args:
        sampler: "ddpm" (Ho et al. 2020, eq. 6-7), "ddim" (Song et al. 2020, arXiv 2010.02502, eq. 12 and 16) or
            "dpm++2m" (Lu et al. 2022, arXiv 2211.01095, algorithm 2).
        steps: network evaluations, 1 to T.
        prediction: what the network predicts.
        variance: DDPM's noise: the posterior's ("fixed_small_log"), or learned between it and beta.
        clip: limit of ``|x0|``: 1 for pixels, 5 for Karlo's prior.
        eta: DDIM only, 0 to 1.
    """
    timesteps = spaced_timesteps(steps, schedule.num_train_timesteps)
    here = schedule.alphas_cumprod[timesteps]
    after = np.append(here[1:], 1.0)  # share of signal after each step; the last one leaves nothing but signal
    from_x, from_out = _to_x0(here, prediction)
    zeros = np.zeros(steps)
    low = high = before = noise = zeros
    if sampler == "ddpm":
        beta = 1.0 - here / after  # re-derived for the timesteps that are skipped
        posterior = (1 - after) / (1 - here) * beta
        keep = np.sqrt(1 - beta) * (1 - after) / (1 - here)
        predicted = np.sqrt(after) * beta / (1 - here)
        low = np.log(np.maximum(posterior, SMALLEST_VARIANCE))
        high = np.log(beta)
        noisy = timesteps > 0
        if steps == 1:
            noisy = np.array([False])  # a single step ends the walk though its timestep is not 0
        noise = noisy.astype(np.float64) if variance == "learned_range" else np.where(noisy, np.exp(low / 2), 0.0)
    elif sampler == "ddim":
        # eps is derived anew from the clamped x0, so that the two agree.
        sigma = eta * np.sqrt((1 - after) / (1 - here)) * np.sqrt(1 - here / after)
        keep = np.sqrt(np.maximum(1 - after - sigma**2, 0.0)) / np.sqrt(1 - here)
        predicted = np.sqrt(after) - keep * np.sqrt(here)
        noise = sigma
    elif sampler == "dpm++2m":
        keep, predicted, before = _dpm_solver(here, after)
    else:
        raise ValueError(f"sampler must be ddpm, ddim or dpm++2m, got {sampler!r}")
    learned = sampler == "ddpm" and variance == "learned_range"
    return SamplerTable(
        timesteps,
        from_x,
        from_out,
        keep,
        predicted,
        before,
        noise,
        renoise=zeros,
        signal=np.sqrt(after),
        spread=np.sqrt(1 - after),
        log_low=low,
        log_high=high,
        clip=clip,
        learned=learned,
    )


def inversion_table(schedule: NoiseSchedule, steps: int) -> SamplerTable:
    """DDIM run backwards, from a picture to the x_T it decodes from (Dhariwal & Nichol 2021, appendix F).

    Step i undoes step n - 1 - i of the deterministic DDIM walk of as many steps: it evaluates the network at the
    timestep it moves to, on the cleaner x it still has, and takes that noise for the noise the decoding step will
    see. For a network that predicts noise; P = 0 and Q = 1 hand the update the noise itself in the place of x0.
    Nothing is clamped: a clamp cannot be undone by the decoding that follows.
    """
    timesteps = spaced_timesteps(steps, schedule.num_train_timesteps)[::-1].copy()
    there = schedule.alphas_cumprod[timesteps]
    here = np.append(1.0, there[:-1])
    keep = np.sqrt(there / here)
    zeros = np.zeros(steps)
    return SamplerTable(
        timesteps,
        from_x=zeros,
        from_out=np.ones(steps),
        keep=keep,
        predicted=np.sqrt(1 - there) - keep * np.sqrt(1 - here),
        before=zeros,
        noise=zeros,
        renoise=zeros,
        signal=np.sqrt(there),
        spread=np.sqrt(1 - there),
        log_low=zeros,
        log_high=zeros,
        clip=float("inf"),
        learned=False,
    )


def _to_x0(bars: Float64Array, prediction: Prediction) -> tuple[Float64Array, Float64Array]:
    """(P, Q) of ``x0 = P x + Q out``; Ho et al. 2020, eq. 15 for noise prediction."""
    if prediction == "sample":
        return np.zeros_like(bars), np.ones_like(bars)
    if prediction == "epsilon":
        return 1 / np.sqrt(bars), -np.sqrt(1 - bars) / np.sqrt(bars)
    raise ValueError(f"prediction must be epsilon or sample, got {prediction!r}")


def _dpm_solver(here: Float64Array, after: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """(A, B, C) of DPM-Solver++ (2M). First and last step are of first order: no history, and no noise left.

    So is one more than twice as wide in log-SNR as the step before it, as the one to t = 0 is unless steps are few:
    extrapolated that far, the difference of two predictions is mostly their errors, and pictures come out grainy.
    """
    steps = len(here)
    keep, predicted, before = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    width_before = 0.0
    for i in range(steps):
        sigma, sigma_after = np.sqrt(1 - here[i]), np.sqrt(1 - after[i])
        keep[i] = sigma_after / sigma
        # alpha_t (1 - exp(-h)) with exp(-h) = (sigma_t / alpha_t) / (sigma_s / alpha_s)
        gain = np.sqrt(after[i]) - keep[i] * np.sqrt(here[i])
        if sigma_after == 0.0:
            predicted[i] = gain
            continue
        width = _half_log_snr(after[i]) - _half_log_snr(here[i])
        slope = width / (2 * width_before) if i > 0 and width <= 2 * width_before else 0.0
        predicted[i], before[i] = gain * (1 + slope), -gain * slope
        width_before = width
    return keep, predicted, before


def _half_log_snr(bar: float) -> float:
    return 0.5 * float(np.log(bar) - np.log1p(-bar))
