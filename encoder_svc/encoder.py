"""CLIP: captions and pictures to points of one joint space (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPTokenizer

from encoder_svc.looking import CenterCrop, center_cropped
from encoder_svc.networks import load, signature
from unclip.checkpoints.checkpoint import IMAGE_FOLDERS, TEXT_FOLDERS, Checkpoint, loading
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.errors import CheckpointError, PreconditionFailed
from unclip.networks.interface import LOCAL, Remotes, running_on
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.embeddings import Embedding, TextEncoding

TEXT, IMAGE = ("text",), ("image",)


class Encoder:
    """A checkpoint's CLIP on a device.

    Attributes: embedding_dim D; context L, tokens of a caption; image_size, 0 where no image encoder is there;
    where, the place its networks run on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
        images: Checkpoint | None = None,
    ) -> None:
        """images: where the image encoder is, ``checkpoint`` itself when None and it has one."""
        checkpoint.verify(TEXT_FOLDERS)
        images = images or (None if checkpoint.lacks("image_encoder") else checkpoint)
        placement = Placement.choose(device, precision, offload)
        self.device = device
        self.where = running_on(device, remotes, ["text_encoder", "image_encoder"] if images else ["text_encoder"])
        self.clip_space = checkpoint.clip_space
        with loading("tokenizer"):
            # By its own folder: given the whole one, libraries also look at files beside the components.
            self._tokenizer = CLIPTokenizer.from_pretrained(checkpoint.folder / "tokenizer", local_files_only=True)
        read = signature("text_encoder", checkpoint)
        self.context = read.inputs[0].shape[0]
        self.embedding_dim = int(checkpoint.config("text_encoder", "config.json").get("projection_dim", 512))
        self.image_size = 0
        self.crop: CenterCrop | None = None
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
        self.crop = CenterCrop.of(self._processor)
        read = signature("image_encoder", checkpoint)
        self.image_size = read.inputs[0].shape[-1]
        if read.output.shape != (self.embedding_dim,):
            raise CheckpointError(
                f"checkpoint: text embeddings have {self.embedding_dim} dimensions, "
                f"image embeddings {read.output.shape[0]}"
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

    def pixels(self, image: Image.Image, ready: bool = False) -> torch.Tensor:
        """What the network gets of an RGB picture, ``[3, S, S]``: resized by its shortest edge and centre-cropped.

        ready: whether it is already, see `encoder_svc.looking.center_cropped`.

        Raises:
            PreconditionFailed: no image encoder is there.
        """
        if not self.image_size:
            raise PreconditionFailed("image_encoder", "this checkpoint has no image encoder: it cannot read pictures")
        if not ready:
            image, ready = center_cropped(lambda: image, self.crop)
        resized = {"do_resize": False, "do_center_crop": False} if ready else {}
        values = self._processor([image], return_tensors="np", **resized).pixel_values
        return torch.from_numpy(values[0])

    def image_job(self, pixels: torch.Tensor, deadline: float = float("inf")) -> ForwardJob:
        """A job for what `pixels` gives; its result is ``[D]``."""
        return ForwardJob(IMAGE, {"pixels": pixels.to(self.device)}, deadline)

    def image_jobs(self, images: Sequence[Image.Image], deadline: float = float("inf")) -> list[ForwardJob]:
        """One job per RGB picture. Raises PreconditionFailed as `pixels`."""
        return [self.image_job(self.pixels(image), deadline) for image in images]
