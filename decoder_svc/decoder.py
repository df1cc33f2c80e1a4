"""The decoder: from a CLIP image embedding to a base-size picture, and by DDIM inversion back to its noise."""

from __future__ import annotations

import torch

from decoder_svc.editing import edited
from decoder_svc.networks import load, signature
from decoder_svc.text_projection import TextProjection
from unclip.checkpoints.checkpoint import DECODER_FOLDERS, Checkpoint
from unclip.diffusion.noise import Stream
from unclip.diffusion.process import Process
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.errors import CheckpointError
from unclip.networks.interface import LOCAL, Remotes, Tensors, running_on
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.embeddings import TextEncoding
from unclip.wire.tasks import DecodeTask, Float32Array, InvertTask

LANE = "decoder"  # and the number of tokens: captions of one length share a batch


class Decoder:
    """A checkpoint's decoder on a device.

    Attributes: size, side of its pictures; embedding_dim D; where, the place its network runs on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
    ) -> None:
        checkpoint.verify(DECODER_FOLDERS)
        self.device = device
        config = checkpoint.config("decoder_scheduler", "scheduler_config.json")
        self._process = Process.from_config(config, "decoder_scheduler")
        if self._process.prediction not in ("epsilon", "v_prediction"):
            raise CheckpointError("decoder_scheduler: prediction_type must be epsilon or v_prediction")
        self._projection = TextProjection.from_checkpoint(checkpoint).eval().to(device)
        self.size = signature("decoder", checkpoint).output.shape[-1]
        self.embedding_dim = int(self._projection.learned_classifier_free_guidance_embeddings.shape[0])
        self.parameters = sum(count_parameters(checkpoint, folder) for folder in ("text_proj", "decoder"))
        network = remotes.get("decoder") or load("decoder", checkpoint, Placement.choose(device, precision, offload))
        self.where = running_on(device, remotes, ["decoder"])
        self.programs = {"decoder": TrajectoryProgram(network)}

    @torch.inference_mode()
    def _conditions(self, embedding: torch.Tensor, text: TextEncoding) -> Tensors:
        # Constant over the trajectory, hence projected once and not at every step.
        context, addition, mask = self._projection(
            embedding[None].to(self.device),
            torch.from_numpy(text.embedding.values)[None].to(self.device),
            torch.from_numpy(text.token_states)[None].to(self.device),
            torch.from_numpy(text.token_mask)[None].to(self.device),
        )
        return {"context": context[0], "addition": addition[0], "mask": mask[0]}

    def decode(self, task: DecodeTask, deadline: float = float("inf")) -> Trajectory:
        """A trajectory to a picture, float32 ``[3, size, size]`` in [-1, 1]."""
        sampling, unconditional = task.sampling, task.unconditional_text
        embedding = torch.from_numpy(task.embedding.values)
        null = self._projection.learned_classifier_free_guidance_embeddings
        table, kept = edited(task.known, self._process.table(sampling), self._process.schedule, self.device)
        return Trajectory(
            (LANE, len(unconditional.token_mask)),
            table,
            (3, self.size, self.size),
            self.device,
            self._conditions(embedding, task.text or unconditional),
            unconditional=self._conditions(null, unconditional) if sampling.guidance_scale != 1.0 else None,
            guidance_scale=sampling.guidance_scale,
            # A copy: what came over the wire is a read-only view of its message.
            start=None if task.start_noise is None else torch.from_numpy(task.start_noise.copy()),
            seed=task.seed,
            stream=Stream.DECODER,
            known=kept,
            finish=lambda x: x.clamp(-1, 1),
            deadline=deadline,
        )

    def invert(self, task: InvertTask, picture: Float32Array, deadline: float = float("inf")) -> Trajectory:
        """A trajectory from the picture of ``task``, float32 ``[3, size, size]``, to its x_T (section 3)."""
        return Trajectory(
            (LANE, len(task.unconditional_text.token_mask)),
            self._process.inversion(task.steps),
            (3, self.size, self.size),
            self.device,
            self._conditions(torch.from_numpy(task.embedding.values), task.unconditional_text),
            start=torch.from_numpy(picture),
            deadline=deadline,
        )
