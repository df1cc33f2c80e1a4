"""peer: ours, served over gRPC, over diffusers' ``UnCLIPPipeline`` in one process, one picture at a time.

The pipeline is built from the same checkpoint's parts, eager, float32, as published (``tests/unit/parity_reference``
proves that it makes our pictures). Both sample ancestrally, the only way the pipeline knows, with equal steps,
guidance and threads, and one prior candidate. Ours counts the whole call, caption to PNG file, through the gateway
and four processes; the pipeline's ends with a Pillow picture. They take turns; the figure is the median of the
pairs' ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from tests.bench.asking import CAPTION, KARLO, Settings, ask, told
from tests.bench.options import Options
from tests.bench.pairs import in_turns
from tests.bench.report import Report
from tests.unit.parity_reference import Reference
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.client import Client
from unclip.local.stack import LocalStack
from unclip.options import SamplingSettings


def run(options: Options) -> Report:
    """Measures with the checkpoint's own steps, and with those that Karlo was published with."""
    report, checkpoint = Report("peer"), Checkpoint.open(options.checkpoint)
    torch.set_num_threads(options.threads)
    defaults = {stage: ancestral(checkpoint.defaults(stage)) for stage in ("prior", "decoder", "upsampler")}
    pipeline = Reference(options.checkpoint, float64=False).pipeline
    with LocalStack(options.checkpoint, threads=options.threads) as stack, Client(stack.address) as client:
        for name, settings in (("defaults", defaults), ("as Karlo", KARLO)):
            found = in_turns(
                partial(serve, client, settings),
                partial(one, pipeline, settings),
                options.precision,
            )
            report.rows.append({"settings": name, "stages": told(settings), **found.row("served", "diffusers")})
            if settings is defaults:
                report.figure("served_over_diffusers", found.ratio, "<= 1.0", found.interval)
    if any(settings["prior"].guidance_scale == 1 for settings in (defaults, KARLO)):
        report.notes.append("where one stage has guidance, the pipeline runs both stages twice; ours only that one")
    return report


def ancestral(settings: SamplingSettings) -> SamplingSettings:
    """The same number of steps and guidance in the one sampler that both have."""
    return replace(settings, sampler="ddpm", eta=0.0)


def serve(client: Client, settings: Settings, seed: int) -> None:
    """One picture from the services."""
    ask(client, seed, settings, candidates=1)


def one(pipeline: Any, settings: Settings, seed: int) -> None:
    """One picture from the pipeline."""
    call(pipeline, settings, [CAPTION], [seed])


def call(pipeline: Any, settings: Settings, captions: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
    """A picture of each caption from the pipeline, in one batch."""
    made: list[Image.Image] = pipeline(
        list(captions),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        prior_num_inference_steps=settings["prior"].steps,
        prior_guidance_scale=settings["prior"].guidance_scale,
        decoder_num_inference_steps=settings["decoder"].steps,
        decoder_guidance_scale=settings["decoder"].guidance_scale,
        super_res_num_inference_steps=settings["upsampler"].steps,
    ).images
    return made
