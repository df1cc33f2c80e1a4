"""The diffusion prior: from a caption's encoding to a CLIP image embedding (section 2.2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer

from unclip.checkpoint import PRIOR_FOLDERS, Checkpoint, loading
from unclip.diffusion.noise import Stream
from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.engine.accelerate import Placement
from unclip.engine.walk import Tensors, Walk, WalkProgram
from unclip.errors import CheckpointError
from unclip.options import SamplingSettings
from unclip.wire.embeddings import TextEncoding

LANE = ("prior",)


class Prior:
    """A checkpoint's prior on a device.

    Attributes: embedding_dim D; context L, tokens of a caption.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str = "float32") -> None:
        checkpoint.verify(PRIOR_FOLDERS)
        with loading("prior"):
            network: Any = PriorTransformer.from_pretrained(
                checkpoint.folder,
                subfolder="prior",
                torch_dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
            )
        # The prior works on embeddings of zero mean and unit deviation; these stay float32 whatever the network is.
        self._mean, self._deviation = (p.detach()[0].to(device) for p in (network.clip_mean, network.clip_std))
        placement = Placement.choose(device, precision)
        self._network = placement.place(network)
        self.device = device
        config = checkpoint.config("prior_scheduler", "scheduler_config.json")
        if config.get("prediction_type") != "sample":
            raise CheckpointError("prior_scheduler: prediction_type must be sample: an unCLIP prior predicts x0")
        self._schedule = NoiseSchedule.from_config(config)
        self._clip = float(config.get("clip_sample_range") or 1.0) if config.get("clip_sample", True) else float("inf")
        self.embedding_dim = int(network.config.embedding_dim)
        self.context = int(network.config.num_embeddings)
        self.parameters = sum(p.numel() for p in network.parameters())
        self.programs = {"prior": WalkProgram(placement.run(self._forward))}

    def _forward(self, inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = self._network(
            inputs["sample"],
            timestep=inputs["timestep"],
            proj_embedding=inputs["text"],
            encoder_hidden_states=inputs["states"],
            attention_mask=inputs["mask"],
        ).predicted_image_embedding
        return out

    def _conditions(self, text: TextEncoding) -> Tensors:
        return {
            "text": torch.from_numpy(text.embedding.values).to(self.device),
            "states": torch.from_numpy(text.token_states).to(self.device),
            "mask": torch.from_numpy(text.token_mask).to(self.device),
        }

    @torch.inference_mode()
    def _finish(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x * self._deviation + self._mean
        return out

    def walk(
        self,
        text: TextEncoding,
        unconditional_text: TextEncoding | None,
        seed: int,
        candidate: int,
        settings: SamplingSettings,
        *,
        start: torch.Tensor | None = None,
        deadline: float = float("inf"),
        notify: Callable[[Any], None] | None = None,
    ) -> Walk:
        """One candidate's walk; its result is an unnormalised image embedding, float32 ``[D]``."""
        table = sampler_table(
            settings.sampler,
            self._schedule,
            settings.steps,
            prediction="sample",
            clip=self._clip,
            eta=settings.eta,
        )
        return Walk(
            LANE,
            table,
            (self.embedding_dim,),
            self.device,
            self._conditions(text),
            unconditional=None if unconditional_text is None else self._conditions(unconditional_text),
            guidance_scale=settings.guidance_scale,
            start=start,
            seed=seed,
            stream=Stream.PRIOR,
            row=candidate,
            finish=self._finish,
            deadline=deadline,
            notify=notify,
        )
