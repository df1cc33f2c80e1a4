"""overhead: what serving costs. One picture through the gateway and all services, over the same networks called
in one process.

Served: ``unclip.local.stack.LocalStack``, four processes, asked by ``unclip.Client`` over loopback; it answers a PNG.
In process: the services' own classes, tick by tick, to the array of pixels, without a file. Both read the caption for
each picture, know the encoding of the empty caption from before, sample two candidates of the prior, and take the
same steps with as many threads. They take turns, each as often first as second; the figure is the median of the
pairs' ratios, with its interval (`tests.bench.intervals`). That both do the same work is checked by comparing a
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from tests.bench.asking import CAPTION, KARLO, Settings, ask, told
from tests.bench.options import Options
from tests.bench.pairs import in_turns
from tests.bench.report import Report
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.client import Client
from unclip.local.stack import LocalStack
from unclip.malloc import keep_large_blocks
from unclip.networks.device import open_device
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import from_pixels
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

CANDIDATES = 2  # what the gateway asks for unasked
LARGEST_DIFFERENCE = 1  # of 255: the same picture


class InProcess:
    """The networks of a checkpoint, called one after the other."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._encoder = Encoder(checkpoint, device)
        self._prior, self._decoder = Prior(checkpoint, device), Decoder(checkpoint, device)
        self._upsampler = Upsampler(checkpoint, device)
        self._empty = self.read("")

    def read(self, caption: str) -> TextEncoding:
        """What the text encoder says of a caption."""
        tokens = self._encoder.tokenize([caption])
        return self._encoder.text_encodings(self._run(self._encoder, self._encoder.text_jobs(tokens)), tokens)[0]

    def generate(self, settings: Settings, seed: int) -> npt.NDArray[np.uint8]:
        """One picture of CAPTION, uint8 ``[H, W, 3]``."""
        text = self.read(CAPTION)
        task = SampleTask(text, self._empty, seed, settings["prior"])
        walks = [self._prior.sample(task, row) for row in range(CANDIDATES)]
        guesses = torch.stack(self._run(self._prior, walks))
        best = guesses[(guesses.cpu() @ torch.from_numpy(text.embedding.values)).argmax()]
        decoding = DecodeTask(Embedding(best.float().cpu().numpy(), ""), self._empty, seed, settings["decoder"], text)
        [small] = self._run(self._decoder, [self._decoder.decode(decoding)])
        upsampling = UpsampleTask(small.float().cpu().numpy(), seed, settings["upsampler"])
        [large] = self._run(self._upsampler, [self._upsampler.upsample(upsampling)])
        return np.asarray(from_pixels(large.float().cpu().numpy()))

    @torch.inference_mode()
    def _run(self, stage: Any, jobs: Sequence[Any]) -> list[torch.Tensor]:
        """The results of jobs of as many steps, moved together."""
        for _ in range(jobs[0].length):
            stage.programs[jobs[0].lane[0]].tick(jobs)
            for job in jobs:
                job.position += 1
        return [job.result() for job in jobs]


def run(options: Options) -> Report:
    """Measures with the checkpoint's own settings, and with those that Karlo was published with."""
    report, checkpoint = Report("overhead"), Checkpoint.open(options.checkpoint)
    ours = {stage: checkpoint.defaults(stage) for stage in ("prior", "decoder", "upsampler")}
    direct = InProcess(checkpoint, open_device("cpu", options.threads))
    keep_large_blocks()  # as services do
    with LocalStack(options.checkpoint, threads=options.threads) as stack, Client(stack.address) as client:
        for name, settings in (("defaults", ours), ("as Karlo", KARLO)):
            served, called = partial(serve, client, settings), partial(direct.generate, settings)
            difference = int(np.abs(served(0).astype(int) - called(0).astype(int)).max())
            if difference > LARGEST_DIFFERENCE:
                raise RuntimeError(f"the two ways differ by {difference}/255: they do not do the same")
            found = in_turns(served, called, options.precision)
            row = {"settings": name, "stages": told(settings), **found.row("served", "in_process")}
            report.rows.append({**row, "difference": difference})
            if settings is ours:
                report.figure("served_over_in_process", found.ratio, "<= 1.05", found.interval)
    return report


def serve(client: Client, settings: Settings, seed: int) -> npt.NDArray[np.uint8]:
    """One picture from the services."""
    return ask(client, seed, settings, CANDIDATES)
