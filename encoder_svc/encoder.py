"""CLIP: captions and pictures to points of one joint space (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from encoder_svc.looking import CenterCrop, center_cropped
from encoder_svc.networks import load, signature
from encoder_svc.tokenizer import Tokenizer, Tokens
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
    where, the place its networks run on; tokenize, what makes a caption's tokens; vocabulary, None where the checkpoint
    does not say what it was taught.
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
        self.vocabulary = checkpoint.vocabulary
        read = signature("text_encoder", checkpoint)
        self.context = read.inputs[0].shape[0]
        self.tokenize = Tokenizer(checkpoint, self.context)
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
                checkpoint.place("feature_extractor"), local_files_only=True
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

    def text_jobs(self, captions: Sequence[Tokens], deadline: float = float("inf")) -> list[ForwardJob]:
        """One job per caption; see `text_encoding` for what its result holds."""
        return [ForwardJob(TEXT, {"ids": tokens.ids.to(self.device)}, deadline) for tokens in captions]

    def text_encoding(self, result: torch.Tensor, tokens: Tokens) -> TextEncoding:
        """What the text job of ``tokens`` found."""
        values = result.float().cpu().numpy()
        return TextEncoding(
            Embedding(values[: self.embedding_dim], self.clip_space),
            values[self.embedding_dim :].reshape(self.context, -1),
            tokens.mask.numpy(),
        )

    def pixels(self, image: Image.Image, ready: bool = False) -> torch.Tensor:
        """What the network gets of an RGB picture, ``[3, S, S]``: resized by its shortest edge and centre-cropped.

        ready: whether it is already, see `encoder_svc.looking.center_cropped`.

        Raises:
            PreconditionFailed: no image encoder is there.
        """
        self._require_images()
        if not ready:
            image, ready = center_cropped(lambda: image, self.crop)
        resized = {"do_resize": False, "do_center_crop": False} if ready else {}
        values = self._processor([image], return_tensors="np", **resized).pixel_values
        return torch.from_numpy(values[0])

    def image_job(self, pixels: torch.Tensor, deadline: float = float("inf")) -> ForwardJob:
        """A job for what `pixels` gives; its result is ``[D]``."""
        return ForwardJob(IMAGE, {"pixels": pixels.to(self.device)}, deadline)

    def null_job(self, deadline: float = float("inf")) -> ForwardJob:
        """A job for the null picture: zeros in the place of a picture's normalised pixels.

        Raises:
            PreconditionFailed: as `pixels`.
        """
        self._require_images()
        return self.image_job(torch.zeros(3, self.image_size, self.image_size), deadline)

    def _require_images(self) -> None:
        if not self.image_size:
            raise PreconditionFailed("image_encoder", "this checkpoint has no image encoder: it cannot read pictures")

    def image_jobs(self, images: Sequence[Image.Image], deadline: float = float("inf")) -> list[ForwardJob]:
        """One job per RGB picture. Raises PreconditionFailed as `pixels`."""
        return [self.image_job(self.pixels(image), deadline) for image in images]
