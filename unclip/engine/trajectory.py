"""A sample's trajectory along its sampler table, and the program that moves many through one network at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch

from unclip.diffusion.guidance import guided
from unclip.diffusion.inpainting import Known
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.diffusion.sending import sent
from unclip.diffusion.table import SamplerTable
from unclip.diffusion.update import Course, advance
from unclip.engine.job import Job
from unclip.networks.interface import Network, Tensors


class Trajectory(Job[torch.Tensor]):
    """One sample on its way from noise to x_0, or back.

    Args:
        lane: see `Job.lane`; trajectories of one lane have equal shapes and the same condition names.
        table: the sampler.
        start: float32 ``[...]`` to start from; None draws it from the seed.
        shape: of the sample, without batch.
        conditions, unconditional: the network's further inputs for this row, without batch; the second set is
            needed where guidance_scale is not 1.
        seed, stream, row: what the noise depends on.
        known: what is known of the picture; these pixels of the result are as they were given, bit for bit.
        last_lane: lane of the last step, where another network takes it.
        priority, scale: see `Job`.
        finish: applied to the last x for the result.
    """

    def __init__(
        self,
        lane: tuple[Hashable, ...],
        table: SamplerTable,
        shape: Sequence[int],
        device: torch.device,
        conditions: Tensors,
        *,
        unconditional: Tensors | None = None,
        guidance_scale: float = 1.0,
        start: torch.Tensor | None = None,
        seed: int = 0,
        stream: Stream = Stream.DECODER,
        row: int = 0,
        known: Known | None = None,
        last_lane: tuple[Hashable, ...] | None = None,
        priority: int = 0,
        scale: float = 1.0,
        finish: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        deadline: float = float("inf"),
    ) -> None:
        super().__init__(len(table), deadline)
        if guidance_scale != 1.0 and unconditional is None:
            raise ValueError("guidance needs unconditional inputs")
        self._lane, self._last_lane = lane, last_lane
        self.priority, self.scale = priority, scale
        self.width = scale * (1 if guidance_scale == 1.0 else 2)
        self.course = Course.of(table, (seed, stream, row), device)
        self.conditions, self.unconditional = conditions, unconditional
        self.guidance_scale = guidance_scale
        self.scale_there = torch.full((), guidance_scale, device=device)
        self.known = known
        if start is None:
            start = gaussian([NoiseKey(seed, stream, row, START)], shape, device)[0]
        self.x = sent(start, device).to(torch.float32)
        self.predicted = torch.zeros_like(self.x)  # the last clamped x0: what a preview shows
        self._finish = finish

    @property
    def lane(self) -> Hashable:
        """The lane of the step to come."""
        last = self._last_lane is not None and self.position == self.length - 1
        return self._last_lane if last else self._lane

    def result(self) -> torch.Tensor:
        """The finished sample, float32 without batch, in the host's memory."""
        finished = self._finish(self.x)
        return (finished if self.known is None else self.known.keep(finished)).cpu()


class TrajectoryProgram:
    """Moves trajectories of one lane by one step with one pass through a network. Rows without guidance run once."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @torch.inference_mode()
    def tick(self, jobs: Sequence[Trajectory]) -> None:
        """One step of every trajectory."""
        count, steered = len(jobs), [i for i, job in enumerate(jobs) if job.guidance_scale != 1.0]
        rows = [job.conditions for job in jobs]
        rows += [jobs[i].unconditional or {} for i in steered]
        x = torch.stack([job.x for job in jobs])
        steps = [job.position for job in jobs]
        taken = [*range(count), *steered]
        inputs = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        inputs["sample"] = torch.stack([jobs[i].x for i in taken])
        inputs["timestep"] = torch.stack([jobs[i].course.timesteps[steps[i]] for i in taken])
        out = self._network(inputs)
        conditional, unconditional = out[:count].clone(), out[count:]
        if steered:
            channels = x.shape[1]  # the learned variance behind them stays the conditional one
            scale = torch.stack([jobs[i].scale_there for i in steered])
            towards = torch.stack([conditional[i, :channels] for i in steered])
            led = guided(towards, unconditional[:, :channels], scale)
            if len(steered) == count:
                conditional[:, :channels] = led
            else:
                for i, row in zip(steered, led, strict=True):
                    conditional[i, :channels] = row
        after, predicted = advance(
            x,
            conditional,
            torch.stack([job.predicted for job in jobs]),
            [job.course for job in jobs],
            steps,
            [job.known for job in jobs],
        )
        for i, job in enumerate(jobs):
            job.x, job.predicted = after[i], predicted[i]
