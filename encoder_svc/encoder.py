"""CLIP: captions and pictures to points of one joint space (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from encoder_svc.looking import CenterCrop, center_cropped
from encoder_svc.networks import load, signature
from encoder_svc.tokenizer import Tokenizer, Tokens
from unclip.checkpoints.checkpoint import Checkpoint, loading
from unclip.checkpoints.components import DECODER_TEXT_FOLDERS, IMAGE_FOLDERS, TEXT_FOLDERS
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.errors import CheckpointError, PreconditionFailed
from unclip.networks.interface import COMPONENTS, LOCAL, NetworkName, Remotes, running_on
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.stage_reading import Float32Array

TEXT, DECODER_TEXT, IMAGE = ("text",), ("decoder_text",), ("image",)
LANES: dict[NetworkName, tuple[str]] = {
    "text_encoder": TEXT,
    "decoder_text_encoder": DECODER_TEXT,
    "image_encoder": IMAGE,
}


class Encoder:
    """A checkpoint's CLIP on a device.

    Attributes: embedding_dim D; context L, tokens of a caption; image_size, 0 where no image encoder is there;
    reads_text, whether captions have embeddings; where, the place its networks run on; vocabulary, None where the
    checkpoint does not say what it was taught.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
        images: Checkpoint | None = None,
        texts: Checkpoint | None = None,
    ) -> None:
        """images, texts: where the CLIP's two encoders are, ``checkpoint`` itself when None and it has one."""
        sources = {
            "text_encoder": texts or (None if checkpoint.lacks("text_encoder") else checkpoint),
            "decoder_text_encoder": checkpoint if "decoder_text_encoder" in checkpoint.listed else None,
            "image_encoder": images or (None if checkpoint.lacks("image_encoder") else checkpoint),
        }
        if all(source is None for source in sources.values()):
            raise CheckpointError(f"checkpoint: {checkpoint.folder} has no encoder")
        self._placement, self._remotes = Placement.choose(device, precision, offload), remotes
        self.device = device
        self.where = running_on(device, remotes, [name for name, source in sources.items() if source])  # type: ignore[misc]
        self.clip_space, self.vocabulary = checkpoint.clip_space, checkpoint.vocabulary
        self.parameters = self.embedding_dim = self.context = self.image_size = 0
        self.crop: CenterCrop | None = None
        self.programs: dict[str, ForwardProgram] = {}
        self._words: Tokenizer | None = None
        self._decoder_words: Tokenizer | None = None
        if (source := sources["text_encoder"]) is not None:
            self._words = self._add_text(source, "text_encoder", TEXT_FOLDERS)
            self.embedding_dim = int(source.config("text_encoder", "config.json").get("projection_dim", 512))
        if (source := sources["decoder_text_encoder"]) is not None:
            self._decoder_words = self._add_text(source, "decoder_text_encoder", DECODER_TEXT_FOLDERS)
        if (source := sources["image_encoder"]) is not None:
            self._add_images(source)
        self.reads_text = self._words is not None

    def _add_network(self, name: NetworkName, checkpoint: Checkpoint) -> None:
        self.parameters += count_parameters(checkpoint, COMPONENTS[name])
        network = self._remotes.get(name) or load(name, checkpoint, self._placement)
        self.programs[LANES[name][0]] = ForwardProgram(network, self.device)

    def _add_text(self, checkpoint: Checkpoint, name: NetworkName, folders: tuple[str, str]) -> Tokenizer:
        checkpoint.verify(folders)
        context = signature(name, checkpoint).inputs[0].shape[0]
        if self.context not in (0, context):
            raise CheckpointError(f"checkpoint: {name} reads {context} tokens, the CLIP {self.context}")
        self.context = context
        self._add_network(name, checkpoint)
        return Tokenizer(checkpoint, context, folders[0])

    def _add_images(self, checkpoint: Checkpoint) -> None:
        checkpoint.verify(IMAGE_FOLDERS)
        with loading("feature_extractor"):
            self._processor = CLIPImageProcessorPil.from_pretrained(
                checkpoint.place("feature_extractor"), local_files_only=True
            )
        self.crop = CenterCrop.of(self._processor)
        read = signature("image_encoder", checkpoint)
        self.image_size, [dim] = read.inputs[0].shape[-1], read.output.shape
        if self.embedding_dim not in (0, dim):
            raise CheckpointError(
                f"checkpoint: text embeddings have {self.embedding_dim} dimensions, image embeddings {dim}"
            )
        self.embedding_dim = dim
        self._add_network("image_encoder", checkpoint)

    def tokenize(self, captions: Sequence[str]) -> list[Tokens]:
        """The tokens of each, for every text encoder that is there."""
        own = self._decoder_words(captions) if self._decoder_words else None
        found = self._words(captions) if self._words else own or []
        if own is None:
            return found
        return [replace(tokens, decoder_ids=other.ids) for tokens, other in zip(found, own, strict=True)]

    @property
    def text_passes(self) -> int:
        """Jobs of one caption."""
        return sum(lane[0] in self.programs for lane in (TEXT, DECODER_TEXT))

    def text_jobs(self, captions: Sequence[Tokens], deadline: float = float("inf")) -> list[ForwardJob]:
        """The jobs of each caption, one after the other: one for each text encoder. See `text_encodings`."""
        return [
            ForwardJob(lane, {"ids": ids}, deadline)
            for tokens in captions
            for lane, ids in ((TEXT, tokens.ids), (DECODER_TEXT, tokens.decoder_ids))
            if lane[0] in self.programs and ids is not None
        ]

    def text_encodings(self, results: Sequence[torch.Tensor], captions: Sequence[Tokens]) -> list[TextEncoding]:
        """What the text jobs of ``captions`` found. Without the CLIP's text encoder embeddings and states are zeros."""
        found = [result.numpy() for result in results]
        each = len(found) // max(1, len(captions))
        return [self._encoding(found[at * each : (at + 1) * each], tokens) for at, tokens in enumerate(captions)]

    def _encoding(self, found: list[Float32Array], tokens: Tokens) -> TextEncoding:
        values, states = np.zeros(self.embedding_dim, np.float32), np.zeros((self.context, 1), np.float32)
        if self.reads_text:
            values, states = found[0][: self.embedding_dim], found[0][self.embedding_dim :].reshape(self.context, -1)
        own = found[-1].reshape(self.context, -1) if self._decoder_words else None
        return TextEncoding(Embedding(values, self.clip_space), states, tokens.mask.numpy(), decoder_states=own)

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
        return ForwardJob(IMAGE, {"pixels": pixels}, deadline)

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
