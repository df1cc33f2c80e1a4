"""Jobs of one tick, a forward pass through a network: how an encoder uses the engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch

from unclip.engine.job import Job
from unclip.networks.interface import Network, Tensors


class ForwardJob(Job[torch.Tensor]):
    """A job of one tick: named inputs of one row to one output row. How an encoder uses the engine.

    finish: applied to the output for the result. priority, scale: see `Job`.
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
        """The output row, finished."""
        assert self.output is not None
        return self._finish(self.output)


class ForwardProgram:
    """Runs one-tick jobs through a function of named tensors."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def tick(self, jobs: Sequence[ForwardJob]) -> None:
        """Runs every job."""
        outputs = self._network({name: torch.stack([job.inputs[name] for job in jobs]) for name in jobs[0].inputs})
        for job, output in zip(jobs, outputs, strict=True):
            job.output = output
