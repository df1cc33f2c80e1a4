"""The diffusion upsampler: from a base-size picture to the final one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch.nn import functional

from decoder_svc.editing import edited
from unclip.checkpoint import UPSAMPLER_FOLDERS, Checkpoint, loading
from unclip.diffusion.noise import Stream
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.engine.accelerate import Placement
from unclip.engine.walk import Network, Tensors, Walk, WalkProgram
from unclip.errors import CheckpointError
from unclip.options import SamplingSettings
from unclip.wire.known import KnownPixels

FIRST, LAST = ("upsampler",), ("upsampler_last",)


class Upsampler:
    """A checkpoint's upsampler on a device; ``size`` is the side of its pictures.

    Karlo takes the last step with a network of its own; a checkpoint without one takes every step with the first.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str = "float32") -> None:
        checkpoint.verify(UPSAMPLER_FOLDERS)
        self.device = device
        self._placement = Placement.choose(device, precision)
        first = self._load(checkpoint, "super_res_first")
        self.programs = {FIRST[0]: WalkProgram(self._placement.run(_forward(first)))}
        self.parameters = sum(p.numel() for p in first.parameters())
        self._last_lane = None
        if checkpoint.has("super_res_last"):
            checkpoint.verify(["super_res_last"])
            last = self._load(checkpoint, "super_res_last")
            self.programs[LAST[0]] = WalkProgram(self._placement.run(_forward(last)))
            self.parameters += sum(p.numel() for p in last.parameters())
            self._last_lane = LAST
        config = checkpoint.config("super_res_scheduler", "scheduler_config.json")
        self._prediction = config.get("prediction_type", "epsilon")
        if self._prediction not in ("epsilon", "sample"):
            raise CheckpointError("super_res_scheduler: prediction_type must be epsilon or sample")
        if config.get("variance_type", "fixed_small_log") != "fixed_small_log":
            raise CheckpointError("super_res_scheduler: variance_type must be fixed_small_log")
        self._clip = float(config.get("clip_sample_range") or 1.0)
        self._schedule = NoiseSchedule.from_config(config)
        self.size = int(first.config.sample_size)

    def _load(self, checkpoint: Checkpoint, folder: str) -> Any:
        with loading(folder):
            network: Any = UNet2DModel.from_pretrained(
                checkpoint.folder,
                subfolder=folder,
                torch_dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
            )
        return self._placement.place(network)

    @torch.inference_mode()
    def walk(
        self,
        base: torch.Tensor,
        seed: int,
        settings: SamplingSettings,
        *,
        start: torch.Tensor | None = None,
        known: KnownPixels | None = None,
        deadline: float = float("inf"),
        notify: Callable[[Any], None] | None = None,
    ) -> Walk:
        """A walk to the final picture, float32 ``[3, size, size]`` in [-1, 1].

        base: float32 ``[3, h, w]``. known: what is known of the picture, at final size.
        """
        side = (self.size, self.size)
        large = functional.interpolate(
            base[None].to(self.device), size=side, mode="bicubic", align_corners=False, antialias=True
        )[0]
        table = sampler_table(
            settings.sampler,
            self._schedule,
            settings.steps,
            prediction=self._prediction,
            clip=self._clip,
            eta=settings.eta,
        )
        table, kept = edited(known, table, self._schedule, self.device)
        return Walk(
            FIRST,
            table,
            (3, *side),
            self.device,
            {"large": large},
            start=start,
            seed=seed,
            stream=Stream.UPSAMPLER,
            last_lane=self._last_lane,
            known=kept,
            finish=lambda x: x.clamp(-1, 1),
            deadline=deadline,
            notify=notify,
        )


def _forward(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(torch.cat([inputs["sample"], inputs["large"]], dim=1), inputs["timestep"]).sample
        return out

    return forward
