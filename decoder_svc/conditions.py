"""What a decoder's U-Net is told of the picture to paint, by the kind of checkpoint: constant over a trajectory."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from diffusers.models.embeddings import get_timestep_embedding

from decoder_svc.text_projection import TextProjection
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.diffusion.process import Process
from unclip.networks.interface import Port, Tensors
from unclip.networks.loading import count_parameters, read_tensor
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import DecodeTask


class Conditions(Protocol):
    """Attributes: dim, D of embeddings; ignores_text, whether captions change nothing; states_width, H2 of
    `TextEncoding.decoder_states` where these are read, else None; parameters, how many numbers are needed for it."""

    dim: int
    ignores_text: bool
    states_width: int | None
    parameters: int

    def of(self, embedding: Embedding, text: TextEncoding | None) -> Tensors:
        """The U-Net's further inputs for one row, without batch."""
        ...

    def unconditional(self, task: DecodeTask) -> Tensors:
        """What guidance steers away from, likewise."""
        ...


def conditions_of(checkpoint: Checkpoint, device: torch.device) -> Conditions:
    """Those of a checkpoint's decoder. Raises CheckpointError."""
    if guided_by_embeddings(checkpoint):
        return EmbeddingAlone(checkpoint, device)
    if "image_normalizer" in checkpoint.listed:
        return NoisedEmbedding(checkpoint, device)
    return ProjectedText(checkpoint, device)


def guided_by_embeddings(checkpoint: Checkpoint) -> bool:
    """Whether the decoder is told an embedding and nothing else, as Kandinsky 2.2's is."""
    return checkpoint.config("decoder", "config.json").get("addition_embed_type") == "image"


def ports_of(checkpoint: Checkpoint) -> tuple[Port, ...]:
    """The U-Net's further inputs."""
    if guided_by_embeddings(checkpoint):
        return (Port("embedding", "FP32", (int(checkpoint.config("decoder", "config.json")["encoder_hid_dim"]),)),)
    if "image_normalizer" in checkpoint.listed:
        config = checkpoint.config("decoder", "config.json")
        return (
            Port("context", "FP32", (-1, int(config["cross_attention_dim"]))),
            Port("addition", "FP32", (int(config["projection_class_embeddings_input_dim"]),)),
        )
    projection = checkpoint.config("text_proj", "config.json")
    return (
        Port("context", "FP32", (-1, int(projection["cross_attention_dim"]))),
        Port("addition", "FP32", (int(projection["time_embed_dim"]),)),
        Port("mask", "BOOL", (-1,)),
    )


def arguments_of(inputs: Tensors) -> dict[str, Any]:
    """The U-Net's keyword arguments."""
    if "embedding" in inputs:
        return {"encoder_hidden_states": None, "added_cond_kwargs": {"image_embeds": inputs["embedding"]}}
    given = {"encoder_hidden_states": inputs["context"], "class_labels": inputs["addition"]}
    return {**given, "attention_mask": inputs["mask"]} if "mask" in inputs else given


class ProjectedText:
    """unCLIP as published: embedding and caption, joined by the ``text_proj`` component."""

    ignores_text = False
    states_width: int | None = None

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._device = device
        self._projection = TextProjection.from_checkpoint(checkpoint).eval().to(device)
        self._null = self._projection.learned_classifier_free_guidance_embeddings
        self.dim = int(self._null.shape[0])
        self.parameters = count_parameters(checkpoint, "text_proj")

    def of(self, embedding: Embedding, text: TextEncoding | None) -> Tensors:
        """See `Conditions`."""
        return self._joined(torch.from_numpy(embedding.values), text)

    def unconditional(self, task: DecodeTask) -> Tensors:
        """See `Conditions`: a learned embedding, and the empty caption or a negative one."""
        return self._joined(self._null, task.unconditional_text)

    @torch.inference_mode()
    def _joined(self, embedding: torch.Tensor, text: TextEncoding | None) -> Tensors:
        # Constant over the trajectory, hence projected once and not at every step.
        assert text is not None
        context, addition, mask = self._projection(
            embedding[None].to(self._device),
            torch.from_numpy(text.embedding.values)[None].to(self._device),
            torch.from_numpy(text.token_states)[None].to(self._device),
            torch.from_numpy(text.token_mask)[None].to(self._device),
        )
        return {"context": context[0], "addition": addition[0], "mask": mask[0]}


class EmbeddingAlone:
    """Kandinsky 2.2: the embedding, and for guidance another one."""

    ignores_text = True
    states_width: int | None = None
    parameters = 0

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._device = device
        [port] = ports_of(checkpoint)
        [self.dim] = port.shape

    def of(self, embedding: Embedding, text: TextEncoding | None) -> Tensors:
        """See `Conditions`."""
        return {"embedding": torch.from_numpy(embedding.values).to(self._device)}

    def unconditional(self, task: DecodeTask) -> Tensors:
        """See `Conditions`."""
        assert task.unconditional_embedding is not None
        return self.of(task.unconditional_embedding, None)


class NoisedEmbedding:
    """Stable unCLIP: the embedding, with as much noise as its noise level says, and that level; and a caption, which a
    text encoder of the decoder's own has read. Guidance steers away from zeros in the embedding's place.

    The level is 0, the published default: noise of less than a hundredth, the same for every picture, so that equal
    embeddings are equal conditions, there and back.
    """

    ignores_text = False

    def __init__(self, checkpoint: Checkpoint, device: torch.device, level: int = 0) -> None:
        self._device = device
        context, addition = ports_of(checkpoint)
        self.states_width: int | None = context.shape[1]
        self.dim = addition.shape[0] // 2
        self.parameters = count_parameters(checkpoint, "image_normalizer")
        mean, deviation = (read_tensor(checkpoint, "image_normalizer", name)[0] for name in ("mean", "std"))
        config = checkpoint.config("image_noising_scheduler", "scheduler_config.json")
        kept = float(Process.from_config(config, "image_noising_scheduler").schedule.alphas_cumprod[level])
        [noise] = gaussian([NoiseKey(0, Stream.EMBEDDING, 0, START)], (self.dim,))
        # sqrt(kept) (z - mean) / deviation + sqrt(1 - kept) noise, and back: a factor and an offset of z.
        self._factor = math.sqrt(kept)
        self._offset = mean * (1 - self._factor) + math.sqrt(1 - kept) * noise * deviation
        self._level = get_timestep_embedding(
            torch.tensor([level]), self.dim, flip_sin_to_cos=True, downscale_freq_shift=0
        )[0]

    def of(self, embedding: Embedding, text: TextEncoding | None) -> Tensors:
        """See `Conditions`."""
        noised = self._factor * torch.from_numpy(embedding.values) + self._offset
        return self._with(torch.cat([noised, self._level]), text)

    def unconditional(self, task: DecodeTask) -> Tensors:
        """See `Conditions`."""
        return self._with(torch.zeros(2 * self.dim), task.unconditional_text)

    def _with(self, addition: torch.Tensor, text: TextEncoding | None) -> Tensors:
        assert text is not None
        assert text.decoder_states is not None
        return {
            "context": torch.from_numpy(text.decoder_states).to(self._device),
            "addition": addition.to(self._device),
        }
