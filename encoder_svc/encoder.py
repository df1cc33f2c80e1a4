"""CLIP: captions and pictures to points of one joint space (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)
from transformers.utils.logging import disable_progress_bar

from unclip.checkpoint import ENCODER_FOLDERS, Checkpoint, loading
from unclip.engine.walk import Once, OnceProgram, Tensors
from unclip.errors import CheckpointError
from unclip.wire.embeddings import Embedding, TextEncoding

TEXT, IMAGE = ("text",), ("image",)


class Encoder:
    """A checkpoint's CLIP on a device. Attributes: embedding_dim D; context L, tokens of a caption; image_size."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        checkpoint.verify(ENCODER_FOLDERS)
        disable_progress_bar()  # bars are not for logs
        self.device = device
        self.clip_space = checkpoint.clip_space
        with loading("tokenizer"):
            self._tokenizer = CLIPTokenizer.from_pretrained(
                checkpoint.folder, subfolder="tokenizer", local_files_only=True
            )
        with loading("feature_extractor"):
            self._processor = CLIPImageProcessorPil.from_pretrained(
                checkpoint.folder, subfolder="feature_extractor", local_files_only=True
            )
        self._text = self._load(CLIPTextModelWithProjection, checkpoint, "text_encoder")
        self._image = self._load(CLIPVisionModelWithProjection, checkpoint, "image_encoder")
        self.context = int(self._text.config.max_position_embeddings)
        self.embedding_dim = int(self._text.config.projection_dim)
        self.image_size = int(self._image.config.image_size)
        if int(self._image.config.projection_dim) != self.embedding_dim:
            raise CheckpointError(
                f"checkpoint: text embeddings have {self.embedding_dim} dimensions, "
                f"image embeddings {self._image.config.projection_dim}"
            )
        self.parameters = sum(p.numel() for part in (self._text, self._image) for p in part.parameters())
        self.programs = {TEXT[0]: OnceProgram(self._forward_text), IMAGE[0]: OnceProgram(self._forward_image)}

    def _load(self, kind: Any, checkpoint: Checkpoint, folder: str) -> Any:
        with loading(folder):
            network = kind.from_pretrained(
                checkpoint.folder, subfolder=folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
            )
        return network.eval().to(self.device)

    def _forward_text(self, inputs: Tensors) -> torch.Tensor:
        """ids ``[B, L]`` to ``[B, D + L * H]``: the embedding, then every token's last hidden state."""
        out = self._text(input_ids=inputs["ids"])
        return torch.cat([out.text_embeds, out.last_hidden_state.flatten(1)], dim=1)

    def _forward_image(self, inputs: Tensors) -> torch.Tensor:
        """pixels ``[B, 3, S, S]`` to ``[B, D]``."""
        out: torch.Tensor = self._image(pixel_values=inputs["pixels"]).image_embeds
        return out

    def tokenize(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids int64, mask bool), both ``[B, L]``; what exceeds L tokens is cut, the end token kept."""
        batch = self._tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=self.context, return_tensors="pt"
        )
        return batch.input_ids, batch.attention_mask.bool()

    def text_jobs(self, ids: torch.Tensor, deadline: float = float("inf")) -> list[Once]:
        """One job per caption; see `text_encoding` for what its result holds."""
        return [Once(TEXT, {"ids": row}, deadline) for row in ids.to(self.device)]

    def text_encoding(self, result: torch.Tensor, mask: torch.Tensor) -> TextEncoding:
        """What a text job found, with the mask of its caption."""
        values = result.float().cpu().numpy()
        return TextEncoding(
            Embedding(values[: self.embedding_dim], self.clip_space),
            values[self.embedding_dim :].reshape(self.context, -1),
            mask.cpu().numpy(),
        )

    def image_jobs(self, images: Sequence[Image.Image], deadline: float = float("inf")) -> list[Once]:
        """One job per RGB picture, resized by its shortest edge and centre-cropped; its result is ``[D]``."""
        pixels = torch.from_numpy(self._processor(list(images), return_tensors="np").pixel_values)
        return [Once(IMAGE, {"pixels": row}, deadline) for row in pixels.to(self.device)]
