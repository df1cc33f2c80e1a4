"""An exported checkpoint in one process, loaded and run as the services do: reads captions, sees and makes pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tqdm import tqdm

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.engine.job import Program
from unclip.engine.trajectory import Trajectory
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import from_pixels
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

CANDIDATES = 2  # prior samples per picture, the best is kept: section 2.2, and what the gateway does unasked
BATCH = 16


class Pipeline:
    """Every network of a checkpoint on one device.

    Raises:
        CheckpointError: a component is missing, altered or does not load.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.checkpoint = Checkpoint.open(folder)
        self.device = device
        self._encoder = Encoder(self.checkpoint, device)
        self._prior = Prior(self.checkpoint, device)
        self.decoder = Decoder(self.checkpoint, device)
        self._upsampler = Upsampler(self.checkpoint, device)

    def read(self, captions: Sequence[str]) -> list[TextEncoding]:
        """What the text encoder says of each caption."""
        tokens = self._encoder.tokenize(captions)
        found = once("read", self._encoder.programs, self._encoder.text_jobs(tokens))
        return self._encoder.text_encodings(found, tokens)

    def see(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Image embeddings ``[N, D]``, unnormalised, of uint8 pictures ``[N, H, W, 3]``."""
        jobs = self._encoder.image_jobs([Image.fromarray(picture) for picture in pictures])
        values: npt.NDArray[np.float32] = torch.stack(once("see", self._encoder.programs, jobs)).cpu().numpy()
        return values

    def generate(self, captions: Sequence[str], seeds: Sequence[int]) -> npt.NDArray[np.uint8]:
        """One picture per caption and seed, all stages at the checkpoint's defaults: uint8 ``[N, H, W, 3]``."""
        empty, *texts = self.read(["", *captions])
        return self.enlarge(self.decode(self.guess(texts, empty, seeds), texts, empty, seeds), seeds)

    def guess(
        self,
        texts: Sequence[TextEncoding],
        empty: TextEncoding,
        seeds: Sequence[int],
        settings: SamplingSettings | None = None,
    ) -> torch.Tensor:
        """The prior's image embeddings ``[N, D]``: of each caption's candidates the nearest to its text embedding."""
        settings = settings or self.checkpoint.defaults("prior")
        walks = [
            self._prior.sample(SampleTask(text, empty, seed, settings), candidate)
            for text, seed in zip(texts, seeds, strict=True)
            for candidate in range(CANDIDATES)
        ]
        guesses = torch.stack(walked("prior", self._prior.programs, walks)).reshape(len(texts), CANDIDATES, -1)
        wanted = torch.from_numpy(np.stack([text.embedding.values for text in texts])).to(guesses)
        best = torch.einsum("ncd,nd->nc", guesses, wanted).argmax(dim=1)
        return guesses[torch.arange(len(texts)), best]

    def decode(
        self,
        embeddings: torch.Tensor,
        texts: Sequence[TextEncoding],
        empty: TextEncoding,
        seeds: Sequence[int],
        settings: SamplingSettings | None = None,
    ) -> list[torch.Tensor]:
        """Base-size pictures ``[3, h, h]`` in [-1, 1] of image embeddings ``[N, D]`` and captions."""
        settings = settings or self.checkpoint.defaults("decoder")
        walks = [
            self.decoder.decode(DecodeTask(Embedding(values, self.checkpoint.clip_space), empty, seed, settings, text))
            for values, text, seed in zip(embeddings.cpu().numpy(), texts, seeds, strict=True)
        ]
        return walked("decoder", self.decoder.programs, walks)

    def enlarge(
        self, small: Sequence[torch.Tensor], seeds: Sequence[int], settings: SamplingSettings | None = None
    ) -> npt.NDArray[np.uint8]:
        """Final pictures, uint8 ``[N, H, W, 3]``, of base-size ones."""
        settings = settings or self.checkpoint.defaults("upsampler")
        walks = [
            self._upsampler.upsample(UpsampleTask(base.cpu().numpy(), seed, settings))
            for base, seed in zip(small, seeds, strict=True)
        ]
        return as_pictures(walked("upsampler", self._upsampler.programs, walks))


def as_pictures(pixels: Sequence[torch.Tensor]) -> npt.NDArray[np.uint8]:
    """``[3, H, H]`` in [-1, 1] each, as uint8 ``[N, H, H, 3]``."""
    return np.stack([np.asarray(from_pixels(values.cpu().numpy())) for values in pixels])


def once(name: str, programs: Mapping[str, ForwardProgram], jobs: Sequence[ForwardJob]) -> list[torch.Tensor]:
    """The results of one-step jobs of one lane, a batch at a time."""
    for start in tqdm(range(0, len(jobs), BATCH), desc=name, unit="batch"):
        batch = jobs[start : start + BATCH]
        with torch.inference_mode():
            programs[lane_of(batch[0])].tick(batch)
    return [job.result() for job in jobs]


def walked(name: str, programs: Mapping[str, Program[Any]], walks: Sequence[Trajectory]) -> list[torch.Tensor]:
    """The results of walks with one sampler and as many steps, a batch in step with itself at a time."""
    for start in tqdm(range(0, len(walks), BATCH), desc=name, unit="batch"):
        batch = walks[start : start + BATCH]
        for _ in range(batch[0].length):
            programs[lane_of(batch[0])].tick(batch)
            for walk in batch:
                walk.position += 1
    with torch.inference_mode():
        return [walk.result() for walk in walks]


def lane_of(job: ForwardJob | Trajectory) -> str:
    """The program that moves the job's next step."""
    lane = job.lane
    assert isinstance(lane, tuple)
    return str(lane[0])
