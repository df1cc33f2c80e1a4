"""The diffusion process a component was trained for, as its ``scheduler_config.json`` describes it.

A scheduler's class is how diffusers would walk; here the request names the sampler, and the class says only which
fields its config has and what they are where it leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from unclip.diffusion.inversion import inversion_table
from unclip.diffusion.respace import UNCLIP_SPACING, Spacing
from unclip.diffusion.samplers import Variance, sampler_table
from unclip.diffusion.schedule import BETA_SCHEDULES, NoiseSchedule
from unclip.diffusion.table import Prediction, SamplerTable, Threshold
from unclip.errors import CheckpointError
from unclip.options import INVERSION_PASSES, SamplingSettings

VARIANCES: Mapping[str, Variance] = {
    "fixed_small": "fixed_small_log",  # two ways to compute the posterior's
    "fixed_small_log": "fixed_small_log",
    "learned_range": "learned_range",
}
LONGEST = 100_000  # training timesteps: what a config may have us allocate

# What a class without the field does: it does not read it, whoever left it in its config.
WITHOUT: Mapping[str, Any] = {
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "timestep_spacing": "unclip",
    "steps_offset": 0,
    "set_alpha_to_one": True,
    "variance_type": "fixed_small",
}
BETAS = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
LATER = {**BETAS, "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 0}
CLIP = {"clip_sample": True, "clip_sample_range": 1.0}
THRESHOLD = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}


@dataclass(frozen=True)
class SchedulerClass:
    """A scheduler of diffusers: the fields its config has, with their defaults, and what it refuses of their values."""

    defaults: Mapping[str, Any]
    predictions: Collection[str] = get_args(Prediction)
    beta_schedules: Collection[str] = tuple(BETA_SCHEDULES)


SCHEDULERS: Mapping[str, SchedulerClass] = {
    "UnCLIPScheduler": SchedulerClass(
        {
            "num_train_timesteps": 1000,
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "epsilon",
            "variance_type": "fixed_small_log",
            **CLIP,
        },
        predictions=("epsilon", "sample"),
        beta_schedules=("squaredcos_cap_v2",),
    ),
    "DDPMScheduler": SchedulerClass({**LATER, **CLIP, **THRESHOLD, "variance_type": "fixed_small"}),
    "DDIMScheduler": SchedulerClass({**LATER, **CLIP, **THRESHOLD, "set_alpha_to_one": True}),
    "PNDMScheduler": SchedulerClass({**LATER, "set_alpha_to_one": False}, predictions=("epsilon", "v_prediction")),
    "DPMSolverMultistepScheduler": SchedulerClass(
        {**LATER, **THRESHOLD, "timestep_spacing": "linspace", "variance_type": "fixed_small"}
    ),
}

# What would change the process or where a walk goes, and is left out here: each field's one value.
UNSUPPORTED: Mapping[str, Any] = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
    "final_sigmas_type": "zero",
    "lambda_min_clipped": -math.inf,
}


@dataclass(frozen=True, eq=False)
class Process:
    """What a network was trained to undo, and how it is to be walked.

    schedule: how noise grows. spacing: which timesteps a trajectory visits. final_alpha_bar: the level that DDIM stops
    at and its inversion starts from; 1 is without noise. prediction: what the network predicts. variance: where DDPM
    has its noise's from. clip: limit of ``|x0|``, infinite for none; threshold: instead of it.
    """

    schedule: NoiseSchedule
    spacing: Spacing = UNCLIP_SPACING
    final_alpha_bar: float = 1.0
    prediction: Prediction = "epsilon"
    variance: Variance = "fixed_small_log"
    clip: float = 1.0
    threshold: Threshold | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, object], component: str = "") -> Process:
        """The process a ``scheduler_config.json`` describes; without a ``_class_name`` it is UnCLIPScheduler's.

        Args:
            component: the folder it lies in, for the error's text.

        Raises:
            CheckpointError: a field's value is none, or not supported; it names field and value.
        """
        return _Reader(config, component).process()

    @property
    def max_steps(self) -> int:
        """Of a trajectory: as many as the process has timesteps."""
        return self.schedule.num_train_timesteps

    def require(self, sampling: SamplingSettings, component: str) -> None:
        """Raises CheckpointError, naming ``component``: what samples so by default takes more steps than there are."""
        if sampling.steps > self.max_steps:
            raise CheckpointError(
                f"{component}/scheduler_config.json: num_train_timesteps must be at least the steps taken by default, "
                f"{sampling.steps}; got {self.max_steps}"
            )

    def table(self, sampling: SamplingSettings) -> SamplerTable:
        """The trajectory from x_T to x_0. Raises ValueError: more steps than the process has timesteps, or none."""
        return sampler_table(
            sampling.sampler,
            self.schedule,
            sampling.steps,
            prediction=self.prediction,
            variance=self.variance,
            clip=self.clip,
            threshold=self.threshold,
            eta=sampling.eta,
            spacing=self.spacing,
            final_alpha_bar=self.final_alpha_bar,
        )

    def inversion(self, steps: int, passes: int = INVERSION_PASSES) -> SamplerTable:
        """The trajectory from x_0 to x_T, see `inversion_table`. Raises ValueError as `table` does."""
        return inversion_table(
            self.schedule,
            steps,
            prediction=self.prediction,
            spacing=self.spacing,
            final_alpha_bar=self.final_alpha_bar,
            passes=passes,
        )


class _Reader:
    """Reads the fields of one config, each with its check."""

    def __init__(self, config: Mapping[str, object], component: str) -> None:
        self._config = config
        self._file = f"{component}/scheduler_config.json" if component else "scheduler_config.json"
        self._defaults: Mapping[str, Any] = {"_class_name": "UnCLIPScheduler"}
        self._scheduler = SCHEDULERS[self._choice("_class_name", SCHEDULERS)]
        self._defaults = self._scheduler.defaults

    def process(self) -> Process:
        for name, only in UNSUPPORTED.items():
            value = self._config.get(name)
            if value is not None and value != only:
                raise self._error(name, f"{only}: nothing else is supported", value)
        schedule = self._schedule()
        clip = self._number("clip_sample_range", 0, math.inf) if self._flag("clip_sample") else math.inf
        threshold = None
        if self._flag("thresholding"):
            clip = math.inf
            ratio = self._number("dynamic_thresholding_ratio", 0, 1)
            threshold = Threshold(ratio, self._number("sample_max_value", 1, math.inf, including=True))
        final = 1.0 if self._flag("set_alpha_to_one") else float(schedule.alphas_cumprod[0])
        return Process(
            schedule,
            self._spacing(schedule.num_train_timesteps),
            final,
            self._choice("prediction_type", self._scheduler.predictions),
            VARIANCES[self._choice("variance_type", VARIANCES)],
            clip,
            threshold,
        )

    def _schedule(self) -> NoiseSchedule:
        betas = BETA_SCHEDULES[self._choice("beta_schedule", self._scheduler.beta_schedules)]
        steps = self._integer("num_train_timesteps", 2, LONGEST)
        if "beta_start" not in self._defaults:
            return betas(steps, 0.0, 0.0)
        start, end = (self._number(name, 0, 1) for name in ("beta_start", "beta_end"))
        if start > end:
            raise self._error("beta_start", f"at most beta_end, {end}", start)
        return betas(steps, start, end)

    def _spacing(self, num_train_timesteps: int) -> Spacing:
        names = ("leading", "trailing", "linspace") if "timestep_spacing" in self._defaults else ("unclip",)
        name = self._choice("timestep_spacing", names)
        return Spacing(name, self._integer("steps_offset", 0, num_train_timesteps - 1))

    def _value(self, name: str) -> Any:
        if name not in self._defaults:
            return WITHOUT[name]
        value = self._config.get(name)
        return self._defaults[name] if value is None else value

    def _choice(self, name: str, choices: Collection[str]) -> Any:
        value = self._value(name)
        if not isinstance(value, str) or value not in choices:
            raise self._error(name, " or ".join(choices), value)
        return value

    def _flag(self, name: str) -> bool:
        value = self._value(name)
        if not isinstance(value, bool):
            raise self._error(name, "true or false", value)
        return value

    def _integer(self, name: str, low: int, high: int) -> int:
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._error(name, f"a whole number, {low} to {high}", value)
        return value

    def _number(self, name: str, low: float, high: float, including: bool = False) -> float:
        """Between low and high, both excluded unless low is included."""
        value = self._value(name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not (low < value < high or (including and value == low)):
            span = f"at least {low}" if including else f"more than {low}"
            raise self._error(name, span if high == math.inf else f"{span} and less than {high}", value)
        return float(value)

    def _error(self, name: str, expected: str, value: object) -> CheckpointError:
        return CheckpointError(f"{self._file}: {name} must be {expected}, got {value!r}")
