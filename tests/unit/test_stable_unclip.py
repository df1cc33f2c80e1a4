"""Stable unCLIP as it was published: recognised, completed by Karlo, and it draws what diffusers' pipelines draw."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import pipeline_stable_unclip, pipeline_stable_unclip_img2img
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm, scheduling_unclip
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from decoder_svc.autoencoder import Autoencoder
from decoder_svc.decoder import Decoder
from decoder_svc.networks import load as load_network
from encoder_svc.app import completed
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from tests.stable_unclip import LARGE, LICENSE, SMALL, make_tiny_stable_unclip
from tests.unit.one_engine import OneEngine
from tests.unit.parity_reference import cast
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import TEXT_FOLDERS
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.diffusion.process import Process
from unclip.errors import PreconditionFailed
from unclip.networks.interface import Network, NetworkName
from unclip.networks.placement import Placement
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

BAR = 1e-4
# Guidance of 10, as published, has what these random networks make of x differ by 1e-3 where x differs by 1e-7: with 3
# the bar can be asked for.
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The large one's, the small one's and Karlo's, side by side; do not write into them."""
    return make_tiny_stable_unclip(tmp_path_factory.mktemp("stable_unclip"))


class OurNoise:
    """Stands in for randn_tensor: what is drawn is ours, by whoever draws it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = {Stream.PRIOR: 0, Stream.DECODER: 0}

    def of(self, stream: Stream, shape: Sequence[int]) -> torch.Tensor:
        step, self._drawn[stream] = self._drawn[stream], self._drawn[stream] + 1
        return gaussian([NoiseKey(self._seed, stream, 0, step)] * shape[0], tuple(shape[1:]))

    def prior(self, shape: Sequence[int], **_: object) -> torch.Tensor:
        return self.of(Stream.PRIOR, shape)

    def decoder(self, shape: Sequence[int], **_: object) -> torch.Tensor:
        return self.of(Stream.DECODER, shape)

    def pipeline(self, shape: Sequence[int], **_: object) -> torch.Tensor:
        """The prior's x_T, the noise in the embedding it gives, and the decoder's x_T."""
        if len(shape) == 4:
            return self.decoder(shape)
        if self._drawn[Stream.PRIOR] == 0 and self.draws:
            return self.prior(shape)
        return gaussian([NoiseKey(0, Stream.EMBEDDING, 0, START)] * shape[0], tuple(shape[1:]))

    draws = False  # whether the pipeline has a prior


class Reference:
    """diffusers' pipelines over the same files, walking as ``scheduler`` does."""

    def __init__(self, repository: Path, karlo: Path, scheduler: Any) -> None:
        def part(kind: Any, name: str, folder: Path = repository) -> Any:
            return kind.from_pretrained(folder, subfolder=name)

        shared = {
            "image_normalizer": part(StableUnCLIPImageNormalizer, "image_normalizer"),
            "image_noising_scheduler": part(DDPMScheduler, "image_noising_scheduler"),
            "tokenizer": CLIPTokenizer.from_pretrained(repository / "tokenizer"),
            "text_encoder": part(CLIPTextModel, "text_encoder"),
            "unet": part(UNet2DConditionModel, "unet"),
            "scheduler": scheduler.from_config(part(PNDMScheduler, "scheduler").config),
            "vae": part(AutoencoderKL, "vae"),
        }
        cast(shared["unet"], torch.float64)  # as for Karlo: guidance enlarges what random networks round
        self.varies = pipeline_stable_unclip_img2img.StableUnCLIPImg2ImgPipeline(
            feature_extractor=CLIPImageProcessorPil.from_pretrained(repository / "feature_extractor"),
            image_encoder=part(CLIPVisionModelWithProjection, "image_encoder"),
            **shared,
        )
        self.draws = None
        if repository.name == SMALL:
            self.draws = pipeline_stable_unclip.StableUnCLIPPipeline(
                prior_tokenizer=CLIPTokenizer.from_pretrained(karlo / "tokenizer"),
                prior_text_encoder=part(CLIPTextModelWithProjection, "text_encoder", karlo),
                prior=part(PriorTransformer, "prior", karlo),
                prior_scheduler=part(UnCLIPScheduler, "prior_scheduler", karlo),
                **shared,
            )
            double(self.draws.prior_scheduler)
            tell_next_timestep(self.draws.prior_scheduler)
        double(shared["scheduler"])
        double(shared["image_noising_scheduler"])
        noised = shared["image_noising_scheduler"].add_noise
        shared["image_noising_scheduler"].add_noise = lambda original_samples, noise, timesteps: noised(
            original_samples.double(), noise.double(), timesteps
        ).float()
        for pipeline in (self.varies, self.draws):
            if pipeline is not None:
                pipeline.set_progress_bar_config(disable=True)

    def run(self, pipeline: Any, seed: int, **given: Any) -> torch.Tensor:
        """float32 ``[3, H, W]`` in [-1, 1]."""
        noise = OurNoise(seed)
        noise.draws = pipeline is self.draws
        with ExitStack() as patches:
            for module, draw in (
                (pipeline_stable_unclip, noise.pipeline),
                (pipeline_stable_unclip_img2img, noise.pipeline),
                (scheduling_unclip, noise.prior),
                (scheduling_ddim, noise.decoder),
                (scheduling_ddpm, noise.decoder),
            ):
                patches.enter_context(patch.object(module, "randn_tensor", draw))
            made = pipeline(**given, output_type="pt").images[0]
        found: torch.Tensor = (made * 2 - 1).float()
        return found


def double(scheduler: Any) -> None:
    """Tables in double precision from the beginning, which `test_schedule` compares with diffusers' own: float32 leaves
    three digits of the least noise."""
    scheduler.betas = torch.from_numpy(Process.from_config(dict(scheduler.config)).schedule.betas)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]


def tell_next_timestep(scheduler: Any) -> None:
    """Stable unCLIP's pipeline leaves it out, so that its prior would step as if to the timestep before each; Karlo's
    pipeline tells it, and so do we."""
    step = scheduler.step

    def told(model_output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, **given: Any) -> Any:
        later = scheduler.timesteps[scheduler.timesteps < timestep]
        return step(model_output, timestep, sample, prev_timestep=later[0] if len(later) else None, **given)

    scheduler.step = told


class Ours(OneEngine):
    """The stages over the same files, on one engine."""

    def __init__(self, repository: Path) -> None:
        checkpoint = Checkpoint.open(repository)
        texts = completed(checkpoint, "text_encoder", TEXT_FOLDERS)
        prior = checkpoint.for_stage("prior")
        self.prior = None if prior is checkpoint else Prior(prior, CPU)
        unet = load_network("decoder", checkpoint, Placement(CPU, torch.float64))
        remotes: dict[NetworkName, Network] = {"decoder": unet}
        self.decoder, self.autoencoder = Decoder(checkpoint, CPU, remotes=remotes), Autoencoder(checkpoint, CPU)
        priors = [self.prior] if self.prior else []
        super().__init__(Encoder(checkpoint, CPU, texts=texts), self.decoder, self.autoencoder, *priors)

    def picture(
        self, gist: torch.Tensor, caption: str, seed: int, sampling: SamplingSettings, size: tuple[int, int]
    ) -> torch.Tensor:
        task = DecodeTask(
            Embedding(gist.numpy(), ""),
            self.read(""),
            seed,
            sampling,
            text=self.read(caption) if caption else None,
            width=size[0],
            height=size[1],
        )
        [sample] = self.run(self.decoder.decode(task))
        return self.run(self.autoencoder.upsample(UpsampleTask(sample.numpy(), 0, SamplingSettings())))[0]


@pytest.fixture(scope="module", params=[LARGE, SMALL])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ours(repositories: tuple[Path, Path, Path], name: str) -> Iterator[Ours]:
    stages = Ours(repositories[0].parent / name)
    yield stages
    stages.engine.close()


def test_it_is_recognised_and_the_small_one_is_completed_by_karlo(repositories: tuple[Path, Path, Path]) -> None:
    large, small, karlo = (Checkpoint.open(folder) for folder in repositories)
    for checkpoint in (large, small):
        assert (checkpoint.family.name, checkpoint.license) == ("Stable unCLIP", LICENSE)
        assert checkpoint.defaults("decoder") == SamplingSettings("dpm++2m", 20, 10.0)
    assert small.for_stage("prior").folder == karlo.folder
    assert small.clip_space == karlo.clip_space != large.clip_space
    assert large.for_stage("prior") is large
    assert large.lacks("prior")


def test_without_karlo_beside_it_the_small_one_varies_pictures_alone(
    repositories: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    alone = Checkpoint.open(shutil.copytree(repositories[1], tmp_path / SMALL))
    assert alone.for_stage("prior") is alone
    encoder = Encoder(alone, CPU)
    assert not encoder.reads_text
    assert encoder.image_size


def test_without_an_image_encoder_the_null_picture_is_refused(repositories: tuple[Path, Path, Path]) -> None:
    with pytest.raises(PreconditionFailed, match="no image encoder"):
        Encoder(Checkpoint.open(repositories[2]), CPU).null_job()


@pytest.mark.parametrize(
    ("scheduler", "sampling", "eta", "size"),
    [
        (DDIMScheduler, SamplingSettings("ddim", 10, 3.0), 0.0, (64, 64)),
        (DDIMScheduler, SamplingSettings("ddim", 7, 3.0, 0.5), 0.5, (320, 256)),
        (DDPMScheduler, SamplingSettings("ddpm", 12, 3.0), 0.0, (64, 64)),
    ],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_variations_are_what_diffusers_pipeline_draws(
    repositories: tuple[Path, Path, Path],
    ours: Ours,
    name: str,
    scheduler: Any,
    sampling: SamplingSettings,
    eta: float,
    size: tuple[int, int],
    seed: int,
) -> None:
    reference = Reference(repositories[0].parent / name, repositories[2], scheduler)
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    expected = reference.run(
        reference.varies,
        seed,
        image=picture,
        prompt="a red cat",
        width=size[0],
        height=size[1],
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        eta=eta,
    )
    [gist] = ours.run(*ours.encoder.image_jobs([picture]))
    found = ours.picture(gist, "a red cat", seed, sampling, size)
    assert found.shape == (3, size[1], size[0])
    assert (expected - found).abs().max() <= BAR


@pytest.mark.parametrize("seed", [0, 7])
def test_the_small_one_draws_captions_as_diffusers_pipeline_does_with_karlos_prior(
    repositories: tuple[Path, Path, Path], seed: int
) -> None:
    reference, stages = Reference(*repositories[1:], DDIMScheduler), Ours(repositories[1])
    prior, decoder = SamplingSettings("ddpm", 25, 4.0), SamplingSettings("ddim", 10, 3.0)
    told: list[torch.Tensor] = []
    assert reference.draws is not None
    noised = reference.draws.noise_image_embeddings

    def overheard(image_embeds: torch.Tensor, **given: Any) -> Any:
        told.append(image_embeds)
        return noised(image_embeds=image_embeds, **given)

    reference.draws.noise_image_embeddings = overheard
    expected = reference.run(
        reference.draws,
        seed,
        prompt="a red cat",
        width=64,
        height=64,
        num_inference_steps=decoder.steps,
        guidance_scale=decoder.guidance_scale,
        prior_num_inference_steps=prior.steps,
        prior_guidance_scale=prior.guidance_scale,
    )
    try:
        assert stages.prior is not None
        task = SampleTask(stages.read("a red cat"), stages.read(""), seed, prior)
        [gist] = stages.run(stages.prior.sample(task))
        # Each stage of ours is fed with what the pipeline's had.
        found = stages.picture(told[0][0], "a red cat", seed, decoder, (64, 64))
    finally:
        stages.engine.close()
    assert (gist - told[0][0]).abs().max() <= BAR
    assert (expected - found).abs().max() <= BAR
