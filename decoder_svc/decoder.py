"""The decoder: from a CLIP image embedding to a base-size picture or its latents, and by DDIM inversion to noise."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

from decoder_svc.conditions import conditions_of
from decoder_svc.editing import edited
from decoder_svc.latents import HALVES, known_latents, scale_of, size_of
from decoder_svc.networks import STUDENT, channels_of, load, require_variance, sees_known
from decoder_svc.previews import preview_map
from decoder_svc.tiles import bounded
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import AUTOENCODER, STUDENT_FOLDERS
from unclip.diffusion.inpainting import Known, resampled
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.diffusion.process import Process
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.engine.job import Program
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.errors import CheckpointError
from unclip.networks.interface import LOCAL, NetworkName, Remotes, Tensors, running_on
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.embeddings import TextEncoding
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, InvertTask

LANE = "decoder"  # then the shape, and the number of tokens: what is equal in both shares a batch
STUDENT_SCHEDULER = STUDENT_FOLDERS[1]
READING: NetworkName = "latent_encoder"


class Decoder:
    """A checkpoint's decoder on a device.

    Attributes: size, side of its pictures in pixels where nothing else is asked for; channels C and scale f, of what it
    samples: ``[C, H / f, W / f]``, pixels themselves where f is 1; embedding_dim D; ignores_text and states_width, see
    `decoder_svc.conditions.Conditions`; latent_rgb, see `decoder_svc.previews`, None of pixels; where, the place its
    networks run on; fast, how its student samples where nothing else is asked for, None where there is none; max_steps
    and max_fast_steps, timesteps of its scheduler and of its student's.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
    ) -> None:
        checkpoint.verify(checkpoint.components("decoder"))
        self.device = device
        config = checkpoint.config("decoder_scheduler", "scheduler_config.json")
        self._process = Process.from_config(config, "decoder_scheduler")
        if self._process.prediction not in ("epsilon", "v_prediction"):
            raise CheckpointError("decoder_scheduler: prediction_type must be epsilon or v_prediction")
        require_variance("decoder", checkpoint, self._process)
        self._process.require(checkpoint.defaults("decoder"), "decoder_scheduler")
        self.max_steps = self.max_fast_steps = self._process.max_steps
        self._conditions = conditions_of(checkpoint, device)
        self.embedding_dim, self.ignores_text = self._conditions.dim, self._conditions.ignores_text
        self.states_width = self._conditions.states_width
        self.channels, self.scale = channels_of(checkpoint), scale_of(checkpoint)
        self._sees_known = sees_known(checkpoint)
        self.size = size_of(checkpoint)
        self.fast = checkpoint.fast("decoder")
        names: list[NetworkName] = [
            "decoder",
            *([STUDENT] if self.fast else []),
            *([READING] if self.scale > 1 else []),
        ]
        placement = Placement.choose(device, precision, offload)
        networks = {name: remotes.get(name) or load(name, checkpoint, placement) for name in names}
        self.programs: dict[str, Program[Any]] = {LANE: TrajectoryProgram(networks["decoder"])}
        self.parameters = self._conditions.parameters + count_parameters(checkpoint, "decoder")
        if self.fast is not None:
            config = checkpoint.config(STUDENT_SCHEDULER, "scheduler_config.json")
            self._student = Process.from_config(config, STUDENT_SCHEDULER)
            require_variance(STUDENT, checkpoint, self._student)
            self._student.require(self.fast, STUDENT_SCHEDULER)
            self.max_fast_steps = self._student.max_steps
            self.programs[STUDENT] = TrajectoryProgram(networks[STUDENT])
            self.parameters += count_parameters(checkpoint, STUDENT)
        self.latent_rgb = None
        if self.scale > 1:
            self.programs[READING] = ForwardProgram(bounded(networks[READING], "pixels", self.scale, 1), device)
            self.parameters += count_parameters(checkpoint, AUTOENCODER, HALVES[READING])
            self.latent_rgb = preview_map(networks[READING], self.scale, device)
        self.where = running_on(device, remotes, names)

    def relative_size(self, task: DecodeTask | InvertTask) -> float:
        """Pixels of the picture, those of one of its usual size counted as 1."""
        return (task.width or self.size) * (task.height or self.size) / self.size**2

    def read(self, pixels: Float32Array, deadline: float = float("inf")) -> ForwardJob:
        """A job to the latents, float32 ``[C, h, w]``, of a picture, float32 ``[3, H, W]`` in [-1, 1]."""
        given = torch.from_numpy(pixels.copy())  # a copy: what came over the wire is read-only
        scale = pixels[0].size / self.size**2
        return ForwardJob((READING, *pixels.shape[1:]), {"pixels": given}, deadline, scale=scale)

    def decode(
        self, task: DecodeTask, deadline: float = float("inf"), known_sample: torch.Tensor | None = None
    ) -> Trajectory:
        """A trajectory to a sample: of pixels in [-1, 1]. That of a student takes one pass a step.

        known_sample: what is known of the picture as `read` gives it, where the decoder walks latents.
        """
        sampling, shape = task.sampling, self._shape(task)
        # A copy: what came over the wire is a read-only view of its message.
        start = None if task.start_noise is None else torch.from_numpy(task.start_noise.copy()).to(self.device)
        if start is None:
            start = gaussian([NoiseKey(task.seed, Stream.DECODER, 0, START)], shape, self.device)[0]
        table = (self._student if task.fast else self._process).table(sampling)
        kept = None
        if task.known is not None and known_sample is not None:
            mask = known_latents(torch.from_numpy(task.known.mask.copy()).to(self.device), self.scale)
            # A network that is shown what is known was taught with one field of noise, and needs no second takes.
            kept = Known.of(known_sample.to(self.device), mask, start if self._sees_known else None)
            if not self._sees_known:
                table = resampled(table, self._process.schedule, task.known.resampling)
        elif task.known is not None:
            table, kept = edited(task.known, table, self._process.schedule, self.device)
        text = task.text or task.unconditional_text
        conditions, seen = self._conditions.of(task.embedding, text), self._seen(shape, kept)
        if task.fast:
            seen = {"guidance": torch.full((), sampling.guidance_scale, dtype=torch.float32, device=self.device)}
        return Trajectory(
            self._lane(shape, text, STUDENT if task.fast else LANE),
            table,
            shape,
            self.device,
            {**conditions, **seen},
            unconditional={**self._conditions.unconditional(task), **seen} if task.guided else None,
            guidance_scale=sampling.guidance_scale if task.guided else 1.0,
            start=start,
            seed=task.seed,
            stream=Stream.DECODER,
            scale=self.relative_size(task),
            known=kept,
            finish=(lambda x: x.clamp(-1, 1)) if self.scale == 1 else (lambda x: x),
            deadline=deadline,
        )

    def invert(self, task: InvertTask, sample: torch.Tensor, deadline: float = float("inf")) -> Trajectory:
        """A trajectory from a picture's pixels, float32 ``[3, H, W]``, or latents, to its x_T (section 3)."""
        shape = self._shape(task)
        return Trajectory(
            self._lane(shape, task.unconditional_text),
            self._process.inversion(task.steps),
            shape,
            self.device,
            {**self._conditions.of(task.embedding, task.unconditional_text), **self._seen(shape, None)},
            start=sample,
            scale=self.relative_size(task),
            deadline=deadline,
        )

    def _shape(self, task: DecodeTask | InvertTask) -> tuple[int, int, int]:
        return self.channels, (task.height or self.size) // self.scale, (task.width or self.size) // self.scale

    def _lane(
        self, shape: tuple[int, int, int], text: TextEncoding | None, network: str = LANE
    ) -> tuple[Hashable, ...]:
        return network, shape, 0 if text is None or self.ignores_text else len(text.token_mask)

    def _seen(self, shape: tuple[int, int, int], kept: Known | None) -> Tensors:
        """What a network that is shown it sees of what is known: latents, 0 where they are not, and the mask."""
        if not self._sees_known:
            return {}
        seen = torch.zeros((shape[0] + 1, *shape[1:]), device=self.device)
        if kept is not None:
            seen[:-1], seen[-1] = torch.where(kept.mask, kept.pixels, 0), kept.mask[0]
        return {"known": seen}
