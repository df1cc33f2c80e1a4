"""A step of the engine on a device that is not there: torch's "meta" computes nothing, and what would be launched, sent
and waited for can be written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from unclip.diffusion.inpainting import Known, resampled
from unclip.diffusion.noise import Stream
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import Threshold
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.networks.interface import Tensors
from unclip.options import SAMPLERS

THERE = torch.device("meta")
SCHEDULE = NoiseSchedule.squaredcos_cap_v2()
SHAPE = (3, 8, 8)
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal", "aten.is_nonzero")
# By a tensor, which torch makes of a list in the host's memory.
INDEXES = ("aten.index.Tensor", "aten.index_put", "aten._index_put_impl")


class Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what is launched, what crosses between host and device, and what the host would wait for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launched, self.sent, self.waits = 0, list[str](), list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func)
        tensors = [each for each in tree_iter((args, kwargs, result)) if isinstance(each, torch.Tensor)]
        there = any(each.device == THERE for each in tensors)
        self.launched += there
        if there and any(each.device != THERE and each.dim() for each in tensors):
            self.sent.append(name)
            if not (kwargs or {}).get("non_blocking"):
                self.waits.append(name)
        if there and name.startswith((*WAITS, *INDEXES)):
            self.waits.append(name)
        return result


def network(inputs: Tensors) -> torch.Tensor:
    """Noise and its variance, from inputs of which none may lie elsewhere."""
    assert all(value.device == THERE for value in inputs.values())
    told = inputs["condition"] + 1e-3 * inputs["timestep"]
    out = 0.5 * inputs["sample"] + told[:, None, None, None]
    return torch.cat([out, out], 1)


def walks() -> list[Trajectory]:
    """One of each sampler, guided, and edited; one of them thresholded."""
    made = []
    for number, sampler in enumerate(SAMPLERS):
        for guided in (False, True):
            threshold = Threshold() if guided and number == 0 else None
            table = sampler_table(sampler, SCHEDULE, 6, variance="learned_range", eta=0.5, threshold=threshold)
            known = None
            if not guided:
                table = resampled(table, SCHEDULE, 2)
                mask = torch.ones(SHAPE[1:], dtype=torch.bool, device=THERE)
                known = Known.of(torch.zeros(SHAPE, device=THERE), mask)
            condition = {"condition": torch.zeros((), device=THERE)}
            walk = Trajectory(
                ("toy",),
                table,
                SHAPE,
                THERE,
                condition,
                unconditional=condition if guided else None,
                guidance_scale=3.0 if guided else 1.0,
                seed=number,
                stream=Stream.DECODER,
                known=known,
            )
            made.append(walk)
    return made


@pytest.mark.parametrize("which", [slice(None), slice(0, None, 2), slice(1, None, 2)], ids=["mixed", "edits", "guided"])
def test_a_step_sends_nothing_to_the_device_and_waits_for_nothing(which: slice) -> None:
    jobs, program = walks()[which], TrajectoryProgram(network)
    for _ in range(6):
        with Watched() as watched:
            program.tick(jobs)
        assert (watched.sent, watched.waits) == ([], [])
        assert watched.launched > len(jobs)
        for job in jobs:
            job.position += 1


def test_what_a_trajectory_needs_is_on_its_way_before_its_first_step_and_nobody_waits_for_it() -> None:
    with Watched() as watched:
        [job, *_] = walks()
    assert watched.sent
    assert watched.waits == []
    there = (job.x, job.scale_there, job.course.columns, job.course.timesteps, job.course.noise)
    assert {each.device for each in there} == {THERE}


@pytest.mark.parametrize(
    "read",
    [lambda x: x.sum().item(), lambda x: x[[0, 2]], lambda x: x.cpu(), lambda x: x[x > 0], lambda x: x + torch.ones(3)],
    ids=["value", "rows by a list", "copy", "rows by a mask", "from the host"],
)
def test_what_waits_is_noticed(read: Callable[[torch.Tensor], object]) -> None:
    x = torch.zeros(3, device=THERE)
    with Watched() as watched:
        try:
            read(x)
        except (RuntimeError, NotImplementedError):  # there are no values
            watched.waits.append("value")
    assert watched.waits
