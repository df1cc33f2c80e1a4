"""What a scheduler's config says of a process, by diffusers' own defaults, and what is refused of it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

from tests.kandinsky import DECODER_SCHEDULER as KANDINSKY
from tests.stable_unclip import SCHEDULER as STABLE_UNCLIP
from tests.unit.scheduler_configs import written
from unclip.diffusion.process import SCHEDULERS, Process
from unclip.diffusion.respace import Spacing
from unclip.errors import CheckpointError
from unclip.options import SamplingSettings

CLASSES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (DDPMScheduler, DDIMScheduler, PNDMScheduler, DPMSolverMultistepScheduler, UnCLIPScheduler)
}
SPACINGS = [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_a_config_leaves_out_is_as_its_class_has_it(name: str) -> None:
    theirs = {key: value.default for key, value in inspect.signature(CLASSES[name].__init__).parameters.items()}
    for key, value in SCHEDULERS[name].defaults.items():
        # Without one DPMSolverMultistepScheduler says that the network learned no variance.
        assert value == ("fixed_small" if theirs[key] is None else theirs[key]), key
    left = Process.from_config({"_class_name": name})
    told = Process.from_config(written(CLASSES[name]()))
    np.testing.assert_array_equal(left.schedule.betas, told.schedule.betas)
    for key in ("spacing", "final_alpha_bar", "prediction", "variance", "clip", "threshold"):
        assert getattr(left, key) == getattr(told, key)


def test_fields_that_a_class_does_not_have_are_not_read() -> None:
    extras = {"timestep_spacing": "trailing", "steps_offset": 1, "beta_start": 0.5, "thresholding": True}
    process = Process.from_config({"_class_name": "UnCLIPScheduler", **extras})
    assert (process.spacing, process.threshold, process.clip) == (Spacing("unclip", 0), None, 1.0)
    assert Process.from_config({**STABLE_UNCLIP, "clip_sample": True}).clip == np.inf


@pytest.mark.parametrize(("spacing", "offset"), [*SPACINGS, ("leading", 7), ("unclip", 0)])
@pytest.mark.parametrize("steps", [1, 3, 7, 333, 501, 999, 1000])
def test_timesteps_fall_and_are_ones_that_were_trained_on(spacing: Any, offset: int, steps: int) -> None:
    timesteps = Spacing(spacing, offset).timesteps(steps)
    assert len(timesteps) == steps
    assert (np.diff(timesteps) < 0).all()
    assert 0 <= timesteps[-1] <= timesteps[0] <= 999


def test_more_steps_than_timesteps_are_refused() -> None:
    process = Process.from_config({**STABLE_UNCLIP, "num_train_timesteps": 100})
    with pytest.raises(ValueError, match="steps must be 1 to 100, got 101"):
        process.table(SamplingSettings("ddim", 101))
    with pytest.raises(ValueError, match="steps must be 1 to 100, got 101"):
        process.inversion(101)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "_class_name must be .*got 'EulerDiscreteScheduler'"),
        ({"_class_name": 3}, "_class_name must be .*got 3"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be linear or .*got 'sigmoid'"),
        ({"_class_name": "UnCLIPScheduler", "beta_schedule": "linear"}, "must be squaredcos_cap_v2, got 'linear'"),
        ({"beta_start": 0.0}, "beta_start must be more than 0.*got 0.0"),
        ({"beta_start": 0.2}, "beta_start must be at most beta_end, 0.012, got 0.2"),
        ({"beta_end": float("nan")}, "beta_end must be .*got nan"),
        ({"trained_betas": [0.1, 0.2]}, r"trained_betas must be None.*got \[0.1, 0.2\]"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr must be False.*got True"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas must be False.*got True"),
        ({"final_sigmas_type": "sigma_min"}, "final_sigmas_type must be zero.*got 'sigma_min'"),
        ({"num_train_timesteps": 1}, "num_train_timesteps must be .*got 1"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps must be .*got '1000'"),
        ({"num_train_timesteps": 1000.0}, "num_train_timesteps must be .*got 1000.0"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps must be .*got 1000000000"),
        ({"prediction_type": "flow_prediction"}, "prediction_type must be .*got 'flow_prediction'"),
        (
            {"_class_name": "UnCLIPScheduler", "beta_schedule": None, "prediction_type": "v_prediction"},
            "prediction_type must be epsilon or sample, got 'v_prediction'",
        ),
        ({"_class_name": "PNDMScheduler", "prediction_type": "sample"}, "epsilon or v_prediction, got 'sample'"),
        ({"variance_type": "fixed_large"}, "variance_type must be .*got 'fixed_large'"),
        ({"timestep_spacing": "unclip"}, "timestep_spacing must be leading or .*got 'unclip'"),
        ({"steps_offset": -1}, "steps_offset must be .*got -1"),
        ({"clip_sample": "no"}, "clip_sample must be true or false, got 'no'"),
        ({"clip_sample": True, "clip_sample_range": 0}, "clip_sample_range must be more than 0, got 0"),
        ({"thresholding": 1}, "thresholding must be true or false, got 1"),
        ({"dynamic_thresholding_ratio": 1.5}, "dynamic_thresholding_ratio must be .*got 1.5"),
        ({"sample_max_value": 0.5}, "sample_max_value must be at least 1, got 0.5"),
    ],
)
def test_what_is_not_supported_is_refused_by_field_and_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^decoder_scheduler/scheduler_config.json: .*{message}"):
        Process.from_config({**KANDINSKY, **change}, "decoder_scheduler")
