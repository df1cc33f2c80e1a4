"""The diffusion upsampler: from a base-size picture to the final one."""

from __future__ import annotations

import torch
from torch.nn import functional

from decoder_svc.editing import edited
from decoder_svc.networks import UPSAMPLERS, load, signature
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import OPTIONAL_FOLDERS, UPSAMPLER_FOLDERS
from unclip.diffusion.noise import Stream
from unclip.diffusion.process import Process
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.errors import CheckpointError
from unclip.networks.interface import LOCAL, Remotes, running_on
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.tasks import UpsampleTask

FIRST, LAST = ("upsampler",), ("upsampler_last",)


class Upsampler:
    """A checkpoint's upsampler on a device; ``size`` is the side of its pictures, ``where`` the place it runs on.

    Karlo takes the last step with a network of its own; a checkpoint without one takes every step with the first.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
    ) -> None:
        folders = [*UPSAMPLER_FOLDERS, *(folder for folder in OPTIONAL_FOLDERS if checkpoint.has(folder))]
        checkpoint.verify(folders)
        self.device = device
        config = checkpoint.config("super_res_scheduler", "scheduler_config.json")
        self._process = Process.from_config(config, "super_res_scheduler")
        if self._process.variance != "fixed_small_log":
            raise CheckpointError("super_res_scheduler: variance_type must be fixed_small_log")
        for default in (checkpoint.defaults("upsampler"), checkpoint.fast("upsampler")):
            if default is not None:
                self._process.require(default, "super_res_scheduler")
        self.max_steps = self._process.max_steps
        self.size = signature("upsampler", checkpoint).output.shape[-1]
        placement = Placement.choose(device, precision, offload)
        names = [name for name, folder in UPSAMPLERS.items() if folder in folders]
        self.parameters = sum(count_parameters(checkpoint, UPSAMPLERS[name]) for name in names)
        self.programs = {
            str(name): TrajectoryProgram(remotes.get(name) or load(name, checkpoint, placement)) for name in names
        }
        self.where = running_on(device, remotes, names)
        self._last_lane = LAST if LAST[0] in self.programs else None

    @torch.inference_mode()
    def upsample(self, task: UpsampleTask, deadline: float = float("inf")) -> Trajectory:
        """A trajectory to the final picture, float32 ``[3, size, size]`` in [-1, 1]."""
        sampling, side = task.sampling, (self.size, self.size)
        base = torch.from_numpy(task.sample.copy())  # what came over the wire is a read-only view of its message
        large = functional.interpolate(
            base[None].to(self.device), size=side, mode="bicubic", align_corners=False, antialias=True
        )[0]
        table, kept = edited(task.known, self._process.table(sampling), self._process.schedule, self.device)
        return Trajectory(
            FIRST,
            table,
            (3, *side),
            self.device,
            {"large": large},
            seed=task.seed,
            stream=Stream.UPSAMPLER,
            last_lane=self._last_lane,
            priority=1,
            known=kept,
            finish=lambda x: x.clamp(-1, 1),
            deadline=deadline,
        )
