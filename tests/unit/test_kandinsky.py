"""Kandinsky 2.2 as it was published: recognised in its halves, and it draws what diffusers' pipelines draw."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.kandinsky2_2 import (
    pipeline_kandinsky2_2,
    pipeline_kandinsky2_2_inpainting,
    pipeline_kandinsky2_2_prior,
)
from diffusers.schedulers import scheduling_ddpm, scheduling_unclip
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from decoder_svc.autoencoder import Autoencoder
from decoder_svc.decoder import Decoder
from decoder_svc.networks import load as load_network
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from tests.kandinsky import DECODER, INDEXES, INPAINT, LICENSE, PRIOR, make_tiny_kandinsky
from tests.unit.one_engine import OneEngine
from tests.unit.parity_reference import cast
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.diffusion.noise import NoiseKey, Stream, gaussian
from unclip.errors import CheckpointError
from unclip.networks.interface import Network, NetworkName
from unclip.networks.placement import Placement
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding
from unclip.wire.known import KnownPixels
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

BAR = 1e-4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The prior's, the decoder's and the inpainting decoder's, side by side; do not write into them."""
    return make_tiny_kandinsky(tmp_path_factory.mktemp("kandinsky"))


# U-Nets compute in float64 on both sides, as for Karlo: guidance enlarges what random networks round.


class OurNoise:
    """Stands in for randn_tensor: the n-th draw of one trajectory is our noise number n."""

    def __init__(self, seed: int, stream: Stream) -> None:
        self.seed, self.stream, self.drawn = seed, stream, 0

    def __call__(self, shape: Sequence[int], **_: object) -> torch.Tensor:
        step, self.drawn = self.drawn, self.drawn + 1
        return gaussian([NoiseKey(self.seed, self.stream, 0, step)] * shape[0], tuple(shape[1:]))


class Reference:
    """diffusers' pipelines over the same files."""

    def __init__(self, prior: Path, decoder: Path, inpaint: Path) -> None:
        def part(kind: Any, folder: Path, name: str) -> Any:
            return kind.from_pretrained(folder, subfolder=name)

        self.processor = CLIPImageProcessorPil.from_pretrained(prior / "image_processor")
        self.prior = pipeline_kandinsky2_2_prior.KandinskyV22PriorPipeline(
            prior=part(PriorTransformer, prior, "prior"),
            image_encoder=part(CLIPVisionModelWithProjection, prior, "image_encoder"),
            text_encoder=part(CLIPTextModelWithProjection, prior, "text_encoder"),
            tokenizer=CLIPTokenizer.from_pretrained(prior / "tokenizer"),
            scheduler=part(UnCLIPScheduler, prior, "scheduler"),
            image_processor=self.processor,
        )
        self.decoder, self.inpaint = (
            kind(
                unet=part(UNet2DConditionModel, folder, "unet"),
                scheduler=part(DDPMScheduler, folder, "scheduler"),
                movq=part(VQModel, folder, "movq"),
            )
            for kind, folder in (
                (pipeline_kandinsky2_2.KandinskyV22Pipeline, decoder),
                (pipeline_kandinsky2_2_inpainting.KandinskyV22InpaintPipeline, inpaint),
            )
        )
        for pipeline in (self.decoder, self.inpaint):
            cast(pipeline.unet, torch.float64)
        self.inpaint.movq.double()  # it is given pictures in the U-Net's format
        for pipeline in (self.prior, self.decoder, self.inpaint):
            pipeline.set_progress_bar_config(disable=True)
            scheduler = pipeline.scheduler
            scheduler.betas = scheduler.betas.double()
            scheduler.alphas = 1 - scheduler.betas
            scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)

    def embeddings(self, caption: str, seed: int, sampling: SamplingSettings) -> tuple[torch.Tensor, torch.Tensor]:
        """What the prior makes of a caption, and the null picture's embedding."""
        noise = OurNoise(seed, Stream.PRIOR)
        with (
            patch.object(pipeline_kandinsky2_2_prior, "randn_tensor", noise),
            patch.object(scheduling_unclip, "randn_tensor", noise),
        ):
            made = self.prior(caption, num_inference_steps=sampling.steps, guidance_scale=sampling.guidance_scale)
        return made.image_embeds[0], made.negative_image_embeds[0]

    def picture(
        self,
        gist: torch.Tensor,
        away: torch.Tensor,
        seed: int,
        sampling: SamplingSettings,
        size: tuple[int, int],
        known: KnownPixels | None = None,
    ) -> torch.Tensor:
        """float32 ``[3, H, W]`` in [-1, 1], not clamped."""
        pipeline: Any = self.decoder if known is None else self.inpaint
        module = pipeline_kandinsky2_2 if known is None else pipeline_kandinsky2_2_inpainting
        given = (
            {}
            if known is None
            else {
                "image": torch.from_numpy(known.pixels)[None],
                "mask_image": 1 - torch.from_numpy(known.mask)[None, None].float(),
            }
        )
        noise = OurNoise(seed, Stream.DECODER)
        with patch.object(module, "randn_tensor", noise), patch.object(scheduling_ddpm, "randn_tensor", noise):
            made = pipeline(
                image_embeds=gist[None],
                negative_image_embeds=away[None],
                width=size[0],
                height=size[1],
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance_scale,
                output_type="pt",
                **given,
            ).images[0]
        found: torch.Tensor = made.float()
        return found


class Ours(OneEngine):
    """The stages over the same files, on one engine."""

    def __init__(self, prior: Path, decoder: Path, *doubled: NetworkName) -> None:
        """doubled: networks that compute in float64."""
        self.prior = Prior(Checkpoint.open(prior), CPU)
        checkpoint = Checkpoint.open(decoder)
        placement = Placement(CPU, torch.float64)
        remotes: dict[NetworkName, Network] = {name: load_network(name, checkpoint, placement) for name in doubled}
        self.decoder = Decoder(checkpoint, CPU, remotes=remotes)
        self.autoencoder = Autoencoder(checkpoint, CPU, remotes=remotes)
        super().__init__(Encoder(Checkpoint.open(prior), CPU), self.prior, self.decoder, self.autoencoder)

    def embeddings(self, caption: str, seed: int, sampling: SamplingSettings) -> tuple[torch.Tensor, torch.Tensor]:
        task = SampleTask(self.read(caption), self.read(""), seed, sampling)
        gist, away = self.run(self.prior.sample(task), self.encoder.null_job())
        return gist, away

    def pictures(self, *tasks: DecodeTask) -> list[torch.Tensor]:
        known = [None if task.known is None else self.run(self.decoder.read(task.known.pixels))[0] for task in tasks]
        samples = self.run(
            *(self.decoder.decode(task, known_sample=each) for task, each in zip(tasks, known, strict=True))
        )
        return self.run(
            *(
                self.autoencoder.upsample(UpsampleTask(sample.numpy(), 0, SamplingSettings(), known=task.known))
                for task, sample in zip(tasks, samples, strict=True)
            )
        )


@pytest.fixture(scope="module")
def reference(repositories: tuple[Path, Path, Path]) -> Reference:
    return Reference(*repositories)


@pytest.fixture(scope="module")
def ours(repositories: tuple[Path, Path, Path]) -> Iterator[Ours]:
    stages = Ours(*repositories[:2], "decoder")
    yield stages
    stages.engine.close()


@pytest.fixture(scope="module")
def inpainting(repositories: tuple[Path, Path, Path]) -> Iterator[Ours]:
    stages = Ours(repositories[0], repositories[2], "decoder", "latent_encoder", "latent_decoder")
    yield stages
    stages.engine.close()


def task_of(
    gist: torch.Tensor, away: torch.Tensor, seed: int, sampling: SamplingSettings, size: tuple[int, int], **more: Any
) -> DecodeTask:
    return DecodeTask(
        Embedding(gist.numpy(), ""),
        None,
        seed,
        sampling,
        unconditional_embedding=Embedding(away.numpy(), ""),
        width=size[0],
        height=size[1],
        **more,
    )


def test_it_is_recognised_in_its_halves(repositories: tuple[Path, Path, Path]) -> None:
    prior, decoder, inpaint = (Checkpoint.open(folder) for folder in repositories)
    for checkpoint, name in ((prior, PRIOR), (decoder, DECODER), (inpaint, INPAINT)):
        assert (checkpoint.family.name, checkpoint.name, checkpoint.license) == ("Kandinsky 2.2", name, LICENSE)
        assert checkpoint.clip_space == prior.clip_space
        assert checkpoint.for_stage("encoder").folder == checkpoint.for_stage("prior").folder == prior.folder
        assert INDEXES[name]["_class_name"] in checkpoint.family.pipelines
    assert prior.for_stage("decoder").folder == prior.for_stage("upsampler").folder == decoder.folder
    assert inpaint.for_stage("decoder") is inpaint


def test_a_half_alone_is_refused_with_the_name_of_the_other(
    repositories: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(repositories[0], tmp_path / PRIOR))
    with pytest.raises(CheckpointError, match=f"{PRIOR} has no decoder: it is one half .*put {DECODER} beside it"):
        Checkpoint.open_for("decoder", alone, ())
    assert Checkpoint.open_for("prior", alone, ()).folder == alone


@pytest.mark.parametrize("seed", [0, 7])
def test_the_prior_samples_what_diffusers_pipeline_samples(reference: Reference, ours: Ours, seed: int) -> None:
    sampling = SamplingSettings("ddpm", 25, 4.0)
    theirs, mine = (each.embeddings("a red cat", seed, sampling) for each in (reference, ours))
    for expected, found in zip(theirs, mine, strict=True):
        assert (expected - found).abs().max() <= BAR


@pytest.mark.parametrize(("seed", "steps", "size"), [(0, 12, (64, 64)), (3, 25, (64, 64)), (7, 6, (320, 256))])
def test_the_decoder_draws_what_diffusers_pipeline_draws(
    reference: Reference, ours: Ours, seed: int, steps: int, size: tuple[int, int]
) -> None:
    sampling = SamplingSettings("ddpm", steps, 4.0)
    gist, away = ours.embeddings("a red cat", seed, SamplingSettings("ddpm", 3, 4.0))
    expected = reference.picture(gist, away, seed, sampling, size)
    [found] = ours.pictures(task_of(gist, away, seed, sampling, size))
    assert found.shape == (3, size[1], size[0])
    assert (expected.clamp(-1, 1) - found).abs().max() <= BAR


@pytest.mark.parametrize(("seed", "size"), [(0, (64, 64)), (5, (320, 256))])
def test_an_edit_paints_what_diffusers_inpainting_pipeline_paints(
    reference: Reference, inpainting: Ours, seed: int, size: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    mask = np.kron(random.uniform(size=(size[1] // 32, size[0] // 32)) < 0.6, np.ones((32, 32))).astype(np.bool_)
    known = KnownPixels(random.uniform(-1, 1, (3, size[1], size[0])).astype(np.float32), mask)
    sampling = SamplingSettings("ddpm", 6, 4.0)
    gist, away = inpainting.embeddings("a red cat", seed, SamplingSettings("ddpm", 3, 4.0))
    expected = reference.picture(gist, away, seed, sampling, size, known).clamp(-1, 1)
    [found] = inpainting.pictures(task_of(gist, away, seed, sampling, size, known=known))
    free = torch.from_numpy(~mask).expand_as(found)
    assert (expected - found)[free].abs().max() <= BAR
    assert torch.equal(found[~free], torch.from_numpy(known.pixels)[~free])
