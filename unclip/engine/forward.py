"""Jobs of one tick, a forward pass through a network: how an encoder uses the engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch

from unclip.engine.job import Job
from unclip.networks.interface import Network, Tensors


class ForwardJob(Job[torch.Tensor]):
    """A job of one tick: named inputs of one row to one output row. How an encoder uses the engine.

    Inputs and output are in the host's memory: a tick takes those of all its rows to the device, and back, at once.

    finish: applied to the output, float32, for the result. priority, scale: see `Job`.
    """

    def __init__(
        self,
        lane: tuple[Hashable, ...],
        inputs: Tensors,
        deadline: float = float("inf"),
        *,
        priority: int = 0,
        scale: float = 1.0,
        finish: Callable[[torch.Tensor], torch.Tensor] = lambda output: output,
    ) -> None:
        super().__init__(1, deadline)
        self._lane, self._finish = lane, finish
        self.priority, self.scale, self.width = priority, scale, scale
        self.inputs = inputs
        self.output: torch.Tensor | None = None

    @property
    def lane(self) -> Hashable:
        """Its only lane."""
        return self._lane

    def result(self) -> torch.Tensor:
        """The output row, float32, finished."""
        assert self.output is not None
        return self._finish(self.output)


class ForwardProgram:
    """Runs one-tick jobs through a function of named tensors on a device."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network, self._device = network, device

    def tick(self, jobs: Sequence[ForwardJob]) -> None:
        """Runs every job."""
        inputs = {name: torch.stack([job.inputs[name] for job in jobs]).to(self._device) for name in jobs[0].inputs}
        for job, output in zip(jobs, self._network(inputs).float().cpu(), strict=True):
            job.output = output
