"""CLIP: captions and pictures to points of one joint space (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPTokenizer

from encoder_svc.networks import load, signature
from unclip.checkpoint import IMAGE_FOLDERS, TEXT_FOLDERS, Checkpoint, loading
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.errors import CheckpointError, PreconditionFailed
from unclip.networks.interface import LOCAL, Remotes
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.embeddings import Embedding, TextEncoding

TEXT, IMAGE = ("text",), ("image",)
MUCH = 16  # times the pixels that are kept: what a resized picture may have for the processor to make all of it


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
            TEXT[0]: ForwardProgram(remotes.get("text_encoder") or load("text_encoder", checkpoint, placement))
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
        self.programs[IMAGE[0]] = ForwardProgram(network)

    def tokenize(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids int64, mask bool), both ``[B, L]``; what exceeds L tokens is cut, the end token kept."""
        batch = self._tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=self.context, return_tensors="pt"
        )
        return batch.input_ids, batch.attention_mask.bool()

    def text_jobs(self, ids: torch.Tensor, deadline: float = float("inf")) -> list[ForwardJob]:
        """One job per caption; see `text_encoding` for what its result holds."""
        return [ForwardJob(TEXT, {"ids": row}, deadline) for row in ids.to(self.device)]

    def text_encoding(self, result: torch.Tensor, mask: torch.Tensor) -> TextEncoding:
        """What a text job found, with the mask of its caption."""
        values = result.float().cpu().numpy()
        return TextEncoding(
            Embedding(values[: self.embedding_dim], self.clip_space),
            values[self.embedding_dim :].reshape(self.context, -1),
            mask.cpu().numpy(),
        )

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """What the network sees of an RGB picture, ``[3, S, S]``: resized by its shortest edge and centre-cropped.

        Raises:
            PreconditionFailed: no image encoder is there.
        """
        if not self.image_size:
            raise PreconditionFailed("image_encoder", "this checkpoint has no image encoder: it cannot read pictures")
        seen = centre(image, self._processor)
        resized = {} if seen is None else {"do_resize": False, "do_center_crop": False}
        values = self._processor([seen or image], return_tensors="np", **resized).pixel_values
        return torch.from_numpy(values[0])

    def image_job(self, pixels: torch.Tensor, deadline: float = float("inf")) -> ForwardJob:
        """A job for what `pixels` gives; its result is ``[D]``."""
        return ForwardJob(IMAGE, {"pixels": pixels.to(self.device)}, deadline)

    def image_jobs(self, images: Sequence[Image.Image], deadline: float = float("inf")) -> list[ForwardJob]:
        """One job per RGB picture. Raises PreconditionFailed as `pixels`."""
        return [self.image_job(self.pixels(image), deadline) for image in images]


def centre(image: Image.Image, processor: Any) -> Image.Image | None:
    """The part in the middle of a thin picture that ``processor`` crops, at the size to which it resizes, without the
    rest, of which there would be millions of pixels. None where it works otherwise, and where it crops less away:
    Pillow may filter the whole first across and the part first down, and it rounds and clips in between.
    """
    short, crop = (processor.size or {}).get("shortest_edge"), processor.crop_size or {}
    if not (processor.do_resize and processor.do_center_crop and short):
        return None
    width, height = image.size
    size = [int(short * side / min(width, height)) for side in (width, height)]  # as it computes it
    wanted = [crop["width"], crop["height"]]
    if any(part > whole for part, whole in zip(wanted, size, strict=True)):
        return None  # it would pad
    if size[0] * size[1] <= MUCH * wanted[0] * wanted[1]:
        return None
    box: list[float] = []
    for side, whole, part in zip(image.size, size, wanted, strict=True):
        first = (whole - part) // 2
        box += [first * side / whole, (first + part) * side / whole]
    return image.resize((wanted[0], wanted[1]), processor.resample, box=(box[0], box[2], box[1], box[3]))
