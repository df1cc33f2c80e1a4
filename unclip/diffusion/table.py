"""A trajectory as a table: everything a sampler will do is known, in float64, before the first network evaluation.

Each step is

    x0 = threshold(clip(c_skip x + c_out out))
    x' = c_x x + c_x0 x0 + c_x0_before x0_before + sigma noise
    x' = known_signal known + known_sigma noise                    where the picture is known already

where ``out`` is the network's output, ``x0_before`` the previous step's prediction, and all else a column of the table.
Rows of a batch may thus differ in sampler, step count and position and still advance in one vectorised update; see
`unclip.diffusion.update`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unclip.diffusion.respace import Respaced
from unclip.diffusion.schedule import Float64Array

Prediction = Literal["epsilon", "sample", "v_prediction"]
Affine = tuple[Float64Array, Float64Array]
"""(c_skip, c_out), ``[n]`` each: what ``c_skip x + c_out out`` makes of a network's input and output."""


@dataclass(frozen=True)
class Threshold:
    """Dynamic thresholding: x0 is clamped to [-s, s] and divided by s (Saharia et al. 2022, arXiv 2205.11487, 2.3).

    s is the quantile ``ratio`` (0 to 1) of the absolute values of one sample, within 1 and ``sample_max_value``.
    """

    ratio: float = 0.995
    sample_max_value: float = 1.0


@dataclass(frozen=True, eq=False)
class Coefficients:
    """What a sampler decides: ``x' = c_x x + c_x0 x0 + c_x0_before x0_before + sigma noise``, ``[n]`` each.

    log_variance: bounds, each ``[n]``, between which the network's second half interpolates the noise's logarithmic
    variance; ``sigma`` is then but a factor, 1, or 0 for no noise. None where nothing is learned.
    """

    c_x: Float64Array
    c_x0: Float64Array
    c_x0_before: Float64Array | None = None
    sigma: Float64Array | None = None
    log_variance: tuple[Float64Array, Float64Array] | None = None


@dataclass(frozen=True, eq=False)
class SamplerTable:
    """One trajectory, step by step; every array has shape ``[n]``. Its columns are those of the module's equations.

    timesteps: int64, what the network is given. renoise: deviation of noise added to that of ``sigma``, see
    `unclip.diffusion.inpainting`; together they are ``hypot(sigma, renoise)``. clip: limit of ``|x0|``, infinite where
    nothing is clamped. threshold: None where x0 is not thresholded. learned,
    log_variance_low, log_variance_high: see `Coefficients`.
    """

    timesteps: npt.NDArray[np.int64]
    c_skip: Float64Array
    c_out: Float64Array
    c_x: Float64Array
    c_x0: Float64Array
    c_x0_before: Float64Array
    sigma: Float64Array
    renoise: Float64Array
    known_signal: Float64Array
    known_sigma: Float64Array
    log_variance_low: Float64Array
    log_variance_high: Float64Array
    clip: float
    learned: bool
    threshold: Threshold | None = None

    @classmethod
    def of(
        cls, at: Respaced, rule: Coefficients, x0: Affine, clip: float, threshold: Threshold | None = None
    ) -> SamplerTable:
        """The table of ``rule`` at the steps ``at``, for a network of whose output ``x0`` makes the prediction."""
        zeros = np.zeros(len(at.timesteps))
        c_skip, c_out = x0
        low, high = rule.log_variance or (zeros, zeros)
        return cls(
            at.timesteps,
            c_skip,
            c_out,
            rule.c_x,
            rule.c_x0,
            zeros if rule.c_x0_before is None else rule.c_x0_before,
            zeros if rule.sigma is None else rule.sigma,
            renoise=zeros,
            known_signal=np.sqrt(at.alpha_bar_next),
            known_sigma=np.sqrt(1 - at.alpha_bar_next),
            log_variance_low=low,
            log_variance_high=high,
            clip=clip,
            learned=rule.log_variance is not None,
            threshold=threshold,
        )

    def __len__(self) -> int:
        """Network evaluations of the trajectory."""
        return len(self.timesteps)

    def take(self, steps: npt.NDArray[np.int64]) -> SamplerTable:
        """The table of these steps, in this order; one may come more than once."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: dict[str, Any] = {name: c[steps] if isinstance(c, np.ndarray) else c for name, c in columns.items()}
        return SamplerTable(**taken)


def to_x0(alpha_bar: Float64Array, prediction: Prediction) -> Affine:
    """The picture by what a network predicts of x at ``alpha_bar``; Ho et al. 2020, eq. 15 where that is noise."""
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    if prediction == "sample":
        return np.zeros_like(alpha_bar), np.ones_like(alpha_bar)
    if prediction == "epsilon":
        return 1 / signal, -noise / signal
    if prediction == "v_prediction":  # v = signal eps - noise x0: Salimans & Ho 2022, arXiv 2202.00512, appendix D
        return signal, -noise
    raise ValueError(f"prediction must be epsilon, sample or v_prediction, got {prediction!r}")


def to_noise(alpha_bar: Float64Array, prediction: Prediction) -> Affine:
    """The noise that is left of x where `to_x0` is taken out of it: ``x = signal x0 + noise eps``."""
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    if prediction == "sample":
        return 1 / noise, -signal / noise
    if prediction == "epsilon":
        return np.zeros_like(alpha_bar), np.ones_like(alpha_bar)
    if prediction == "v_prediction":
        return noise, signal
    raise ValueError(f"prediction must be epsilon, sample or v_prediction, got {prediction!r}")
