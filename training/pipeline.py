"""An exported checkpoint in one process, loaded and run as the services do: reads captions, sees and makes pictures."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tqdm import tqdm
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from prior_svc.prior import Prior
from unclip.checkpoint import ENCODER_FOLDERS, Checkpoint
from unclip.engine.engine import Engine
from unclip.engine.job import Job, Program
from unclip.engine.walk import Walk
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import from_pixels

CANDIDATES = 2  # prior samples per picture, the best is kept: section 2.2, and what the gateway does unasked
BATCH = 16


class Pipeline:
    """Every network of a checkpoint on one device.

    Raises:
        CheckpointError: a component is missing, altered or does not load.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.checkpoint = Checkpoint.open(folder)
        self.checkpoint.verify(ENCODER_FOLDERS)
        self.device = device
        self._words = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
        self._look = CLIPImageProcessorPil.from_pretrained(folder, subfolder="feature_extractor", local_files_only=True)
        self._text = self._load(CLIPTextModelWithProjection, "text_encoder")
        self._image = self._load(CLIPVisionModelWithProjection, "image_encoder")
        self._prior = Prior(self.checkpoint, device)
        self._decoder = Decoder(self.checkpoint, device)
        self._upsampler = Upsampler(self.checkpoint, device)

    def _load(self, kind: Any, folder: str) -> Any:
        network = kind.from_pretrained(
            self.checkpoint.folder, subfolder=folder, dtype=torch.float32, local_files_only=True
        )
        return network.eval().to(self.device)

    @torch.inference_mode()
    def read(self, captions: Sequence[str]) -> list[TextEncoding]:
        """What the text encoder says of each caption."""
        found: list[TextEncoding] = []
        for start in range(0, len(captions), BATCH):
            batch = self._words(
                list(captions[start : start + BATCH]),
                padding="max_length",
                truncation=True,
                max_length=self._words.model_max_length,
                return_tensors="pt",
            ).to(self.device)
            out = self._text(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
            rows = (out.text_embeds, out.last_hidden_state, batch.attention_mask.bool())
            for values, states, mask in zip(*(column.cpu().numpy() for column in rows), strict=True):
                found.append(TextEncoding(Embedding(values, self.checkpoint.clip_space), states, mask))
        return found

    @torch.inference_mode()
    def see(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Image embeddings ``[N, D]``, unnormalised, of uint8 pictures ``[N, H, W, 3]``."""
        found: list[torch.Tensor] = []
        for start in range(0, len(pictures), BATCH):
            views = [Image.fromarray(picture) for picture in pictures[start : start + BATCH]]
            pixels = self._look(views, return_tensors="pt").pixel_values.to(self.device)
            found.append(self._image(pixel_values=pixels).image_embeds.cpu())
        values: npt.NDArray[np.float32] = torch.cat(found).numpy()
        return values

    def generate(self, captions: Sequence[str], seeds: Sequence[int]) -> npt.NDArray[np.uint8]:
        """One picture per caption and seed, all stages at the checkpoint's defaults: uint8 ``[N, H, W, 3]``."""
        empty, *texts = self.read(["", *captions])
        rows = list(zip(texts, seeds, strict=True))
        settings = {stage: self.checkpoint.defaults(stage) for stage in ("prior", "decoder", "upsampler")}
        guess = [
            self._prior.walk(text, empty, seed, candidate, settings["prior"])
            for text, seed in rows
            for candidate in range(CANDIDATES)
        ]
        guesses = torch.stack(run("prior", self._prior.programs, guess)).reshape(len(rows), CANDIDATES, -1)
        gist = [
            found[(found.cpu() @ torch.from_numpy(text.embedding.values)).argmax()]
            for found, text in zip(guesses, texts, strict=True)
        ]
        small = run(
            "decoder",
            self._decoder.programs,
            [
                self._decoder.decode(embedding, text, empty, seed, settings["decoder"])
                for embedding, (text, seed) in zip(gist, rows, strict=True)
            ],
        )
        large = run(
            "upsampler",
            self._upsampler.programs,
            [self._upsampler.walk(base, seed, settings["upsampler"]) for base, seed in zip(small, seeds, strict=True)],
        )
        return np.stack([np.asarray(from_pixels(pixels.cpu().numpy())) for pixels in large])


def run(stage: str, programs: Mapping[str, Program[Any]], walks: Sequence[Walk]) -> list[torch.Tensor]:
    """Runs walks through an engine, behind a gate: which rows share a batch then does not depend on the clock."""
    gate = Gate()
    engine = Engine(
        {**programs, **gate.programs}, capacity=BATCH, max_batch=BATCH, queue_limit=len(walks) + 1, stage=stage
    )
    try:
        with engine.reserve(len(walks) + 1) as room:
            room.submit(gate)
            for walk in walks:
                room.submit(walk)
        gate.open.set()
        for _ in tqdm(as_completed([walk.future for walk in walks]), desc=stage, total=len(walks), unit="row"):
            pass
        return [walk.future.result() for walk in walks]
    finally:
        gate.open.set()
        engine.close()


class Gate(Job[None]):
    """Holds the engine at its first tick until it is opened. It is its own program: nobody else takes that lane."""

    def __init__(self) -> None:
        super().__init__(1)
        self.open = threading.Event()
        self.programs: dict[str, Program[Any]] = {"gate": self}

    @property
    def lane(self) -> Hashable:
        """A lane of its own."""
        return ("gate",)

    def tick(self, jobs: Sequence[Gate]) -> None:
        """Waits."""
        self.open.wait()

    def result(self) -> None:
        """Nothing."""
