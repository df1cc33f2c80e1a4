"""The diffusion upsampler: from a base-size picture to the final one."""

from __future__ import annotations

import torch
from torch.nn import functional

from decoder_svc.editing import edited
from decoder_svc.networks import UPSAMPLERS, load, signature
from unclip.checkpoints.checkpoint import OPTIONAL_FOLDERS, UPSAMPLER_FOLDERS, Checkpoint
from unclip.diffusion.noise import Stream
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule, clip_of
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
        self._prediction = config.get("prediction_type", "epsilon")
        if self._prediction not in ("epsilon", "sample"):
            raise CheckpointError("super_res_scheduler: prediction_type must be epsilon or sample")
        if config.get("variance_type", "fixed_small_log") != "fixed_small_log":
            raise CheckpointError("super_res_scheduler: variance_type must be fixed_small_log")
        self._clip = clip_of(config)
        self._schedule = NoiseSchedule.from_config(config)
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
        table = sampler_table(
            sampling.sampler,
            self._schedule,
            sampling.steps,
            prediction=self._prediction,
            clip=self._clip,
            eta=sampling.eta,
        )
        table, kept = edited(task.known, table, self._schedule, self.device)
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
