"""What a decoder's U-Net is told of the picture to paint, by the kind of checkpoint: constant over a trajectory."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from decoder_svc.text_projection import TextProjection
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.interface import Port, Tensors
from unclip.networks.loading import count_parameters
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import DecodeTask


class Conditions(Protocol):
    """Attributes: dim, D of embeddings; ignores_text, whether captions change nothing; parameters, how many numbers
    are needed for it."""

    dim: int
    ignores_text: bool
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
    return ProjectedText(checkpoint, device)


def guided_by_embeddings(checkpoint: Checkpoint) -> bool:
    """Whether the decoder is told an embedding and nothing else, as Kandinsky 2.2's is."""
    return checkpoint.config("decoder", "config.json").get("addition_embed_type") == "image"


def ports_of(checkpoint: Checkpoint) -> tuple[Port, ...]:
    """The U-Net's further inputs."""
    if guided_by_embeddings(checkpoint):
        return (Port("embedding", "FP32", (int(checkpoint.config("decoder", "config.json")["encoder_hid_dim"]),)),)
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
    return {
        "encoder_hidden_states": inputs["context"],
        "class_labels": inputs["addition"],
        "attention_mask": inputs["mask"],
    }


class ProjectedText:
    """unCLIP as published: embedding and caption, joined by the ``text_proj`` component."""

    ignores_text = False

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
