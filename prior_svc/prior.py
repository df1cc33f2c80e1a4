"""The diffusion prior: from a caption's encoding to a CLIP image embedding (section 2.2 of the paper)."""

from __future__ import annotations

import torch

from prior_svc.networks import load, signature
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import PRIOR_FOLDERS
from unclip.diffusion.noise import Stream
from unclip.diffusion.process import Process
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.errors import CheckpointError
from unclip.networks.interface import LOCAL, Remotes, Tensors, running_on
from unclip.networks.loading import count_parameters, read_tensor
from unclip.networks.placement import Placement
from unclip.wire.embeddings import TextEncoding
from unclip.wire.tasks import SampleTask

LANE = ("prior",)


class Prior:
    """A checkpoint's prior on a device.

    Attributes: embedding_dim D; context L, tokens of a caption; where, the place its network runs on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
    ) -> None:
        checkpoint.verify(PRIOR_FOLDERS)
        self.device = device
        config = checkpoint.config("prior_scheduler", "scheduler_config.json")
        self._process = Process.from_config(config, "prior_scheduler")
        if self._process.prediction != "sample":
            raise CheckpointError("prior_scheduler: prediction_type must be sample: an unCLIP prior predicts x0")
        if self._process.variance != "fixed_small_log":
            raise CheckpointError("prior_scheduler: variance_type must be fixed_small_log: a prior learns none")
        self._process.require(checkpoint.defaults("prior"), "prior_scheduler")
        self.max_steps = self._process.max_steps
        # The prior works on embeddings of zero mean and unit deviation; these stay float32 whatever the network is.
        self._mean, self._deviation = (
            read_tensor(checkpoint, "prior", name)[0].to(device) for name in ("clip_mean", "clip_std")
        )
        inputs = {port.name: port.shape for port in signature("prior", checkpoint).inputs}
        [self.embedding_dim] = inputs["sample"]
        self.context = inputs["states"][0]
        self.parameters = count_parameters(checkpoint, "prior")
        network = remotes.get("prior") or load("prior", checkpoint, Placement.choose(device, precision, offload))
        self.where = running_on(device, remotes, ["prior"])
        self.programs = {"prior": TrajectoryProgram(network)}

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

    def sample(self, task: SampleTask, candidate: int = 0, deadline: float = float("inf")) -> Trajectory:
        """One candidate's trajectory; its result is an unnormalised image embedding, float32 ``[D]``."""
        sampling, unconditional = task.sampling, task.unconditional_text
        return Trajectory(
            LANE,
            self._process.table(sampling),
            (self.embedding_dim,),
            self.device,
            self._conditions(task.text),
            unconditional=self._conditions(unconditional) if unconditional else None,
            guidance_scale=sampling.guidance_scale,
            seed=task.seed,
            stream=Stream.PRIOR,
            row=candidate,
            finish=self._finish,
            deadline=deadline,
        )
