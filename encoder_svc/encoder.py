"""CLIP: captions and pictures to points of one joint space (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPTokenizer

from encoder_svc.networks import load, signature
from unclip.checkpoint import IMAGE_FOLDERS, TEXT_FOLDERS, Checkpoint, loading
from unclip.engine.accelerate import Placement
from unclip.engine.walk import Once, OnceProgram
from unclip.errors import CheckpointError, PreconditionFailed
from unclip.loading import count_parameters
from unclip.network import LOCAL, Remotes
from unclip.wire.embeddings import Embedding, TextEncoding

TEXT, IMAGE = ("text",), ("image",)


class Encoder:
    """A checkpoint's CLIP on a device.

    Attributes: embedding_dim D; context L, tokens of a caption; image_size, 0 where no image encoder is there.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        images: Checkpoint | None = None,
        offload: bool = False,
    ) -> None:
        """images: where the image encoder is, ``checkpoint`` itself when None and it has one."""
        checkpoint.verify(TEXT_FOLDERS)
        images = images or (None if checkpoint.lacks("image_encoder") else checkpoint)
        placement = Placement.choose(device, precision, offload)
        self.device = device
        self.clip_space = checkpoint.clip_space
        with loading("tokenizer"):
            # By its own folder: given the whole one, libraries also look at files beside the components.
            self._tokenizer = CLIPTokenizer.from_pretrained(checkpoint.folder / "tokenizer", local_files_only=True)
        read = signature("text_encoder", checkpoint)
        self.context = read.inputs[0].shape[0]
        self.embedding_dim = int(checkpoint.config("text_encoder", "config.json").get("projection_dim", 512))
        self.image_size = 0
        self.parameters = count_parameters(checkpoint, "text_encoder")
        self.programs = {
            TEXT[0]: OnceProgram(remotes.get("text_encoder") or load("text_encoder", checkpoint, placement))
        }
        if images is not None:
            self._add_images(images, placement, remotes)

    def _add_images(self, checkpoint: Checkpoint, placement: Placement, remotes: Remotes) -> None:
        checkpoint.verify(IMAGE_FOLDERS)
        with loading("feature_extractor"):
            self._processor = CLIPImageProcessorPil.from_pretrained(
                checkpoint.folder / "feature_extractor", local_files_only=True
            )
        seen = signature("image_encoder", checkpoint)
        self.image_size = seen.inputs[0].shape[-1]
        if seen.output.shape != (self.embedding_dim,):
            raise CheckpointError(
                f"checkpoint: text embeddings have {self.embedding_dim} dimensions, "
                f"image embeddings {seen.output.shape[0]}"
            )
        self.parameters += count_parameters(checkpoint, "image_encoder")
        network = remotes.get("image_encoder") or load("image_encoder", checkpoint, placement)
        self.programs[IMAGE[0]] = OnceProgram(network)

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
        """One job per RGB picture, resized by its shortest edge and centre-cropped; its result is ``[D]``.

        Raises:
            PreconditionFailed: no image encoder is there.
        """
        if not self.image_size:
            raise PreconditionFailed("image_encoder", "this checkpoint has no image encoder: it cannot read pictures")
        pixels = torch.from_numpy(self._processor(list(images), return_tensors="np").pixel_values)
        return [Once(IMAGE, {"pixels": row}, deadline) for row in pixels.to(self.device)]
