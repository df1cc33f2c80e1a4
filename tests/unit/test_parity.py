"""Our stages against diffusers' own unCLIP pipelines: same weights, same noise, same pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL import Image

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from prior_svc.prior import Prior
from tests.tiny import make_tiny_checkpoint
from tests.unit.parity_reference import Reference, Run
from training.decoder import SCHEDULER as DECODER_SCHEDULER
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.engine import Engine
from unclip.engine.trajectory import Trajectory
from unclip.networks.interface import LOCAL, Remotes
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

BAR = 1e-4
CPU = torch.device("cpu")


class Ours:
    """The three stages on one engine; all rows of a call share its batches. remotes: networks that replace theirs."""

    def __init__(self, folder: Path, remotes: Remotes = LOCAL) -> None:
        checkpoint = Checkpoint.open(folder)
        self.prior = Prior(checkpoint, CPU, remotes=remotes)
        self.decoder = Decoder(checkpoint, CPU, remotes=remotes)
        self.upsampler = Upsampler(checkpoint, CPU, remotes=remotes)
        self.engine = Engine({**self.prior.programs, **self.decoder.programs, **self.upsampler.programs})

    def run(self, walks: Sequence[Trajectory]) -> torch.Tensor:
        with self.engine.reserve(len(walks)) as room:
            for walk in walks:
                room.submit(walk)
        return torch.stack([walk.future.result(60) for walk in walks])

    def embeddings(
        self, text: TextEncoding, empty: TextEncoding, seeds: Sequence[int], settings: SamplingSettings
    ) -> torch.Tensor:
        return self.run([self.prior.sample(SampleTask(text, empty, seed, settings)) for seed in seeds])

    def bases(
        self,
        embeddings: torch.Tensor,
        text: TextEncoding | None,
        empty: TextEncoding,
        seeds: Sequence[int],
        settings: SamplingSettings,
    ) -> torch.Tensor:
        tasks = [
            DecodeTask(Embedding(row.numpy(), ""), empty, seed, settings, text)
            for row, seed in zip(embeddings, seeds, strict=True)
        ]
        return self.run([self.decoder.decode(task) for task in tasks])

    def finals(self, bases: torch.Tensor, seeds: Sequence[int], settings: SamplingSettings) -> torch.Tensor:
        tasks = [UpsampleTask(base.numpy(), seed, settings) for base, seed in zip(bases, seeds, strict=True)]
        return self.run([self.upsampler.upsample(task) for task in tasks])


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> Reference:
    return Reference(tiny_checkpoint)


@pytest.fixture(scope="module")
def ours(tiny_checkpoint: Path) -> Iterator[Ours]:
    stages = Ours(tiny_checkpoint)
    yield stages
    stages.engine.close()


def decided(make: Callable[[int], Run], seed: int) -> Run:
    """The first run from ``seed`` on that float32 can decide; with random networks one in ten or so cannot be."""
    runs = (make(seed + 2 * again) for again in range(20))
    return next(run for run in runs if not run.undecided)


def ddpm(steps: int, guidance_scale: float = 1.0) -> SamplingSettings:
    return SamplingSettings("ddpm", steps, guidance_scale)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, bar: float = BAR) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= bar


@pytest.mark.parametrize("seed", [0, 7, -3, 2**62])
@pytest.mark.parametrize(
    ("prior", "decoder", "upsampler"),
    [
        (ddpm(2, 1.0), ddpm(2, 1.0), ddpm(2)),
        (ddpm(2, 4.0), ddpm(2, 8.0), ddpm(2)),
        (ddpm(3, 1.0), ddpm(5, 8.0), ddpm(3)),
        (ddpm(5, 4.0), ddpm(5, 1.0), ddpm(7)),
        (ddpm(25, 4.0), ddpm(25, 8.0), ddpm(7)),
        (ddpm(25, 1.5), ddpm(25, 2.0), ddpm(25)),
    ],
    ids=lambda settings: f"{settings.steps}x{settings.guidance_scale:g}",
)
def test_each_stage_makes_what_the_pipeline_makes(
    reference: Reference,
    ours: Ours,
    prior: SamplingSettings,
    decoder: SamplingSettings,
    upsampler: SamplingSettings,
    seed: int,
) -> None:
    run = decided(lambda seed: reference.generate("a red cat", prior, decoder, upsampler, seed), seed)
    text, empty = reference.text("a red cat"), reference.text("")
    assert_close(ours.embeddings(text, empty, run.seeds, prior), run.embedding)
    assert_close(ours.bases(run.embedding, text, empty, run.seeds, decoder), run.base)
    assert_close(ours.finals(run.base, run.seeds, upsampler), run.final)


@pytest.mark.parametrize("caption", ["", "dog", "a cat, a dog! and a red red red red red red red red red red dog"])
def test_captions_of_any_length_condition_as_in_the_pipeline(reference: Reference, ours: Ours, caption: str) -> None:
    prior, decoder = ddpm(4, 4.0), ddpm(4, 6.0)
    run = decided(lambda seed: reference.generate(caption, prior, decoder, ddpm(2), seed), 11)
    text, empty = reference.text(caption), reference.text("")
    assert_close(ours.embeddings(text, empty, run.seeds, prior), run.embedding)
    assert_close(ours.bases(run.embedding, text, empty, run.seeds, decoder), run.base)


@pytest.mark.parametrize("seed", [0, 99])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("steps", [2, 5, 25])
def test_variations_match_the_image_variation_pipeline(
    reference: Reference, ours: Ours, steps: int, guidance_scale: float, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    decoder, upsampler = ddpm(steps, guidance_scale), ddpm(3)
    run = decided(lambda seed: reference.vary(Image.fromarray(pixels), decoder, upsampler, seed), seed)
    assert_close(ours.bases(run.embedding, None, reference.text(""), run.seeds, decoder), run.base)
    assert_close(ours.finals(run.base, run.seeds, upsampler), run.final)


def test_without_a_network_for_the_last_step_the_first_one_takes_it(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", seed=5, super_res_last=False)
    reference, ours = Reference(folder), Ours(folder)
    try:
        run = decided(lambda seed: reference.generate("dog", ddpm(2), ddpm(2), ddpm(5), seed), 0)
        assert_close(ours.finals(run.base, run.seeds, ddpm(5)), run.final)
    finally:
        ours.engine.close()


@pytest.mark.parametrize("steps", [2, 7, 25])
def test_an_upsampler_that_predicts_the_picture_itself_matches_too(tmp_path: Path, steps: int) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", seed=6, manifest=False)
    file = folder / "super_res_scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "sample"}))
    reference, ours = Reference(folder), Ours(folder)
    try:
        run = reference.generate("dog", ddpm(2), ddpm(2), ddpm(steps), 0)
        assert_close(ours.finals(run.base, run.seeds, ddpm(steps)), run.final)
    finally:
        ours.engine.close()


def forget_variance(folder: Path) -> None:
    """Makes of a decoder one that predicts its first half alone, as the recipe's does."""
    unet = UNet2DConditionModel.from_pretrained(folder)
    unet.conv_out.weight, unet.conv_out.bias = (torch.nn.Parameter(part[:3]) for part in unet.conv_out.parameters())
    unet.register_to_config(out_channels=3)
    unet.save_pretrained(folder)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 5, 25])
@pytest.mark.parametrize("variance", ["learned_range", DECODER_SCHEDULER["variance_type"]])
def test_a_decoder_that_predicts_v_matches_too(
    tmp_path: Path, variance: str, steps: int, guidance_scale: float
) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", seed=7, manifest=False)
    scheduler = DDPMScheduler.from_config({**DECODER_SCHEDULER, "variance_type": variance})
    scheduler.save_pretrained(folder / "decoder_scheduler")
    if variance != "learned_range":
        forget_variance(folder / "decoder")
    reference, ours = Reference(folder), Ours(folder)
    try:
        decoder = ddpm(steps, guidance_scale)
        run = reference.generate("dog", ddpm(2), decoder, ddpm(2), 0)
        assert_close(ours.bases(run.embedding, reference.text("dog"), reference.text(""), run.seeds, decoder), run.base)
    finally:
        ours.engine.close()


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_the_whole_chain_draws_the_picture_of_the_pipeline_as_published(
    tiny_checkpoint: Path, ours: Ours, seed: int
) -> None:
    """With the reference's float32 tables, and each stage of ours fed by ours: at most 1/255 per pixel."""
    reference = Reference(tiny_checkpoint, float64=False)
    prior, decoder, upsampler = ddpm(25, 4.0), ddpm(25, 2.0), ddpm(25)
    run = decided(lambda seed: reference.generate("a red cat", prior, decoder, upsampler, seed), seed)
    text, empty = reference.text("a red cat"), reference.text("")
    embeddings = ours.embeddings(text, empty, run.seeds, prior)
    bases = ours.bases(embeddings, text, empty, run.seeds, decoder)
    assert_close(embeddings, run.embedding, 2 / 255)
    assert_close(bases, run.base, 2 / 255)
    assert_close(ours.finals(bases, run.seeds, upsampler), run.final, 2 / 255)


@pytest.mark.parametrize("setting", [{"clip_sample": False}, {"clip_sample_range": 0.25}], ids=str)
def test_every_stage_clips_what_is_predicted_as_its_scheduler_says(
    tmp_path: Path, ours: Ours, setting: dict[str, object]
) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", manifest=False)  # of the same weights as those of `ours`
    for name in ("prior_scheduler", "decoder_scheduler", "super_res_scheduler"):
        file = folder / name / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **setting}))
    reference, told = Reference(folder), Ours(folder)
    try:
        run = reference.generate("a red cat", ddpm(5, 4.0), ddpm(5, 2.0), ddpm(3), 0)
        text, empty = reference.text("a red cat"), reference.text("")
        assert_close(told.embeddings(text, empty, run.seeds, ddpm(5, 4.0)), run.embedding)
        for stages, agrees in ((told, True), (ours, False)):  # the latter's schedulers say otherwise
            base = stages.bases(run.embedding, text, empty, run.seeds, ddpm(5, 2.0))
            final = stages.finals(run.base, run.seeds, ddpm(3))
            assert all(
                ((one - other).abs().max() <= BAR) == agrees for one, other in ((base, run.base), (final, run.final))
            )
    finally:
        told.engine.close()


def test_captions_and_images_make_a_visible_difference(reference: Reference, ours: Ours) -> None:
    """Else the comparisons above would prove little."""
    dog, cat, empty = (reference.text(caption) for caption in ("dog", "a red cat", ""))
    embeddings = torch.cat([ours.embeddings(text, empty, [0], ddpm(5, 4.0)) for text in (dog, cat)])
    assert (embeddings[0] - embeddings[1]).abs().max() > 0.1
    bases = [ours.bases(embeddings, text, empty, [0, 0], ddpm(5, 4.0)) for text in (dog, cat, None)]
    assert (bases[0][0] - bases[0][1]).abs().max() > 0.1
    assert all((bases[0] - other).abs().max() > 0.1 for other in bases[1:])
    finals = ours.finals(bases[0], [0, 0], ddpm(3))
    assert (finals[0] - finals[1]).abs().max() > 0.1
