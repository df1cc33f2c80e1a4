"""diffusers' own unCLIP pipelines over a checkpoint's parts, drawing our noise: what the parity tests compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip import pipeline_unclip, pipeline_unclip_image_variation
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.schedulers import scheduling_unclip
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from tests.tiny import BASE
from unclip.diffusion.noise import NoiseKey, Stream, gaussian
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding


@dataclass
class Run:
    """What a pipeline made, stage by stage, one row per seed.

    undecided: the first step of the decoder or upsampler (t = 999) left a pixel inside the clamp. There
    x0 = 20000 (x - eps), so that the pixel is the network's rounding error, 20000 times enlarged, and no two float32
    programs agree on it.
    """

    seeds: list[int]
    embedding: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    base: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    final: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    undecided: bool = False


class OurNoise:
    """Stands in for randn_tensor: the n-th draw of a stage is our noise number n. Row i has seed i."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds
        self.drawn = dict.fromkeys(Stream, 0)

    def __call__(self, shape: Sequence[int], **_: object) -> torch.Tensor:
        pictures = Stream.DECODER if shape[-1] == BASE else Stream.UPSAMPLER
        stream = Stream.PRIOR if len(shape) == 2 else pictures
        step = self.drawn[stream]
        self.drawn[stream] += 1
        return gaussian([NoiseKey(seed, stream, 0, step) for seed in self.seeds], shape[1:])


class PredictingV(scheduling_unclip.UnCLIPScheduler):  # type: ignore[misc]
    """UnCLIPScheduler, which knows noise and pictures alone, for a decoder that predicts v."""

    def step(self, model_output: torch.Tensor, timestep: int, sample: torch.Tensor, **others: Any) -> Any:
        v, variance = model_output.chunk(2, dim=1)
        bar = self.alphas_cumprod[timestep]
        picture = bar.sqrt() * sample - (1 - bar).sqrt() * v  # Salimans & Ho 2022, arXiv 2202.00512, appendix D
        return super().step(torch.cat([picture.to(v), variance], dim=1), timestep, sample, **others)


def scheduler_of(folder: Path, name: str) -> Any:
    """The scheduler of a component, by which the pipeline can walk."""
    told = json.loads((folder / name / "scheduler_config.json").read_text())
    if told["prediction_type"] == "v_prediction":
        return PredictingV.from_config({**told, "prediction_type": "sample", "variance_type": "learned_range"})
    return scheduling_unclip.UnCLIPScheduler.from_pretrained(folder, subfolder=name)


def with_variance(decoder: Any) -> Any:
    """The pipelines want a variance beside what a decoder predicts: of one that learned none, the posterior's, which is
    the lower bound of what can be learned."""
    if decoder.config.out_channels == 3:
        alone = decoder.forward

        def forward(*given: Any, **named: Any) -> Any:
            out = alone(*given, **named)
            out.sample = torch.cat([out.sample, -torch.ones_like(out.sample)], dim=1)
            return out

        decoder.forward = forward
    return decoder


class Reference:
    """Both pipelines. images: the folder with the image encoder, the same when None. float64: with the schedulers'
    tables made anew in double precision. unets: what the U-Nets compute in; what goes in and comes out is float32.

    In float32, as published, 1 - alphas_cumprod[0] has but three digits.
    """

    def __init__(
        self,
        folder: Path,
        images: Path | None = None,
        *,
        float64: bool = True,
        unets: torch.dtype = torch.float32,
    ) -> None:
        images = images or folder

        def load(cls: Any, name: str, folder: Path = folder) -> Any:
            part = cls.from_pretrained(folder, subfolder=name)
            return part.float() if isinstance(part, torch.nn.Module) else part  # the embedded weights are float16

        last = "super_res_last" if (folder / "super_res_last").exists() else "super_res_first"
        self.schedulers = {
            name: scheduler_of(folder, name) for name in ("prior_scheduler", "decoder_scheduler", "super_res_scheduler")
        }
        if float64:
            for scheduler in self.schedulers.values():
                scheduler.betas = scheduler.betas.double()
                scheduler.alphas = 1 - scheduler.betas
                scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
        prior = {
            "prior": load(PriorTransformer, "prior"),
            "prior_scheduler": self.schedulers.pop("prior_scheduler"),
        }
        shared = {
            "decoder": with_variance(load(UNet2DConditionModel, "decoder")),
            "text_encoder": load(CLIPTextModelWithProjection, "text_encoder"),
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "text_proj": load(UnCLIPTextProjModel, "text_proj"),
            "super_res_first": load(UNet2DModel, "super_res_first"),
            "super_res_last": load(UNet2DModel, last),
            **self.schedulers,
        }
        self.text_proj: Any = shared["text_proj"]
        self.pipeline = pipeline_unclip.UnCLIPPipeline(**prior, **shared)
        self.variation = pipeline_unclip_image_variation.UnCLIPImageVariationPipeline(
            **shared,
            feature_extractor=CLIPImageProcessorPil.from_pretrained(images / "feature_extractor"),
            image_encoder=load(CLIPVisionModelWithProjection, "image_encoder", images),
        )
        if unets != torch.float32:
            for name in ("decoder", "super_res_first", "super_res_last"):
                cast(shared[name], unets)
        for pipeline in (self.pipeline, self.variation):
            pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def text(self, caption: str) -> TextEncoding:
        """A caption as the pipeline's own text encoder sees it."""
        embedding, states, mask = self.pipeline._encode_prompt(caption, torch.device("cpu"), 1, False)
        return TextEncoding(Embedding(embedding[0].numpy(), "tiny"), states[0].numpy(), mask[0].numpy())

    def generate(
        self, caption: str, prior: SamplingSettings, decoder: SamplingSettings, upsampler: SamplingSettings, seed: int
    ) -> Run:
        return self._run(
            self.pipeline,
            seed,
            prompt=caption,
            prior_num_inference_steps=prior.steps,
            prior_guidance_scale=prior.guidance_scale,
            decoder_num_inference_steps=decoder.steps,
            decoder_guidance_scale=decoder.guidance_scale,
            super_res_num_inference_steps=upsampler.steps,
        )

    def vary(self, image: Image.Image, decoder: SamplingSettings, upsampler: SamplingSettings, seed: int) -> Run:
        return self._run(
            self.variation,
            seed,
            image=image,
            decoder_num_inference_steps=decoder.steps,
            decoder_guidance_scale=decoder.guidance_scale,
            super_res_num_inference_steps=upsampler.steps,
        )

    def _run(self, pipeline: Any, seed: int, **arguments: Any) -> Run:
        """Two images, of seeds ``seed`` and ``seed + 1``."""
        run = Run([seed, seed + 1])

        def keep_embedding(_: object, __: object, inputs: dict[str, Any]) -> None:
            run.embedding = inputs["image_embeddings"].clone()

        def recording(scheduler: Any, name: str) -> Callable[..., Any]:
            step = scheduler.step

            def recorded(out: torch.Tensor, timestep: int, sample: torch.Tensor, **others: Any) -> Any:
                after = step(out, timestep, sample, **others)
                run.undecided |= bool(timestep == 999 and (after.pred_original_sample.abs() < 1).any())
                if name == "decoder_scheduler":
                    run.base = after.prev_sample.clamp(-1, 1)
                return after

            return recorded

        noise = OurNoise(run.seeds)
        handle = self.text_proj.register_forward_pre_hook(keep_embedding, with_kwargs=True)
        with ExitStack() as patches:
            patches.callback(handle.remove)
            for module in (scheduling_unclip, pipeline_unclip, pipeline_unclip_image_variation):
                patches.enter_context(patch.object(module, "randn_tensor", noise))
            for name, scheduler in self.schedulers.items():
                patches.enter_context(patch.object(scheduler, "step", recording(scheduler, name)))
            final = pipeline(**arguments, num_images_per_prompt=2, output_type="np").images
        run.final = torch.from_numpy(final).permute(0, 3, 1, 2) * 2 - 1
        return run


def cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Has a network compute in ``dtype``; its floating inputs are cast, and the output that it returns to float32."""

    def to(kind: torch.dtype, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: to(kind, each) for name, each in value.items()}
        return value.to(kind) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def before(_: object, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(to(dtype, value) for value in given), {name: to(dtype, value) for name, value in named.items()}

    def after(_: object, __: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(to(torch.float32, value) for value in output)
        [name] = output.keys()
        return type(output)(**{name: to(torch.float32, output[name])})

    network.to(dtype)
    network.register_forward_pre_hook(before, with_kwargs=True)
    network.register_forward_hook(after)
