"""The two ways that ``gpu`` compares: our stages on one engine, and diffusers' pipeline, eager."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.pipeline_unclip import UnCLIPPipeline
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from torch.nn import functional

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from prior_svc.prior import Prior
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.engine import Engine
from unclip.engine.trajectory import Trajectory
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

STAGES = ("prior", "decoder", "upsampler")
Settings = Mapping[str, SamplingSettings]
BUILT_IN = functional.interpolate
TOKENS = 9  # of the caption; the others are padding


def clock(device: torch.device) -> float:
    """Seconds, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Ours:
    """The services' stages, each loaded as its service loads it, on one engine. finite: whether all results were."""

    def __init__(self, folder: Path, device: torch.device, precision: str, *, capacity: int, batch: int) -> None:
        checkpoint = Checkpoint.open(folder)
        self.prior, self.decoder = Prior(checkpoint, device, precision), Decoder(checkpoint, device, precision)
        self.upsampler = Upsampler(checkpoint, device, precision)
        self.device, self.finite = device, True
        self.programs = {**self.prior.programs, **self.decoder.programs, **self.upsampler.programs}
        self._engine = Engine(self.programs, capacity=capacity, max_batch=batch, queue_limit=0)
        self.context, self.dim = self.prior.context, self.prior.embedding_dim
        self._text, self._empty = (encoding(self.dim, self.context, seed) for seed in (1, 2))

    def stage(self, stage: str, count: int, settings: SamplingSettings) -> float:
        """Seconds for ``count`` walks of a stage at once, from requests to results on the host."""
        return self._at_once(count, lambda seed: self.result(stage, seed, settings))

    def whole(self, count: int, settings: Settings) -> float:
        """Seconds for ``count`` pictures at once, each on its own way through the stages."""

        def picture(seed: int) -> torch.Tensor:
            embedding = self._walked(self._prior(seed, settings["prior"]))
            small = self._walked(self._decode(seed, settings["decoder"], embedding))
            return self._walked(self._upsample(seed, settings["upsampler"], small))

        return self._at_once(count, picture)

    def walk(self, stage: str, seed: int, settings: SamplingSettings) -> Trajectory:
        """A trajectory of a stage from what follows from the seed."""
        chance = torch.Generator().manual_seed(seed)
        if stage == "prior":
            return self._prior(seed, settings)
        if stage == "decoder":
            return self._decode(seed, settings, torch.randn(self.dim, generator=chance))
        side = self.decoder.size
        return self._upsample(seed, settings, torch.rand(3, side, side, generator=chance) * 2 - 1)

    def result(self, stage: str, seed: int, settings: SamplingSettings) -> torch.Tensor:
        """What it comes to."""
        return self._walked(self.walk(stage, seed, settings))

    def close(self) -> None:
        """Stops the engine."""
        self._engine.close()

    def _prior(self, seed: int, settings: SamplingSettings) -> Trajectory:
        return self.prior.sample(SampleTask(self._text, self._empty, seed, settings))

    def _decode(self, seed: int, settings: SamplingSettings, embedding: Any) -> Trajectory:
        return self.decoder.decode(
            DecodeTask(Embedding(embedding.numpy(), ""), self._empty, seed, settings, self._text)
        )

    def _upsample(self, seed: int, settings: SamplingSettings, small: Any) -> Trajectory:
        return self.upsampler.upsample(UpsampleTask(small.numpy(), seed, settings))

    def _walked(self, walk: Trajectory) -> torch.Tensor:
        """The result on the host, float32, as a service has to send it."""
        with self._engine.reserve() as room:
            room.submit(walk)
        return walk.future.result()

    def _at_once(self, count: int, work: Callable[[int], torch.Tensor]) -> float:
        with ThreadPoolExecutor(count) as pool:
            began = clock(self.device)
            results = list(pool.map(work, range(count)))
            seconds = clock(self.device) - began
        self.finite &= all(bool(result.isfinite().all()) for result in results)
        return seconds


class Eager:
    """diffusers' UnCLIPPipeline over the same files, in ``dtype``, all pictures of a batch in step."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, dim: int, context: int) -> None:
        def load(kind: Any, name: str) -> Any:
            return kind.from_pretrained(folder, subfolder=name, torch_dtype=dtype).to(device).eval()

        def scheduler(name: str) -> Any:
            return UnCLIPScheduler.from_pretrained(folder, subfolder=name)

        last = "super_res_last" if (folder / "super_res_last").exists() else "super_res_first"
        self.device, self._began = device, dict[str, float]()
        self._pipeline: Any = UnCLIPPipeline(
            prior=load(PriorTransformer, "prior"),
            decoder=load(UNet2DConditionModel, "decoder"),
            text_encoder=None,
            tokenizer=None,
            text_proj=load(UnCLIPTextProjModel, "text_proj"),
            super_res_first=load(UNet2DModel, "super_res_first"),
            super_res_last=load(UNet2DModel, last),
            prior_scheduler=scheduler("prior_scheduler"),
            decoder_scheduler=scheduler("decoder_scheduler"),
            super_res_scheduler=scheduler("super_res_scheduler"),
        )
        self._pipeline.set_progress_bar_config(disable=True)
        # Captions are read by the encoder, which is not measured here.
        empty, text = (encoding(dim, context, seed) for seed in (2, 1))
        vectors = np.stack([empty.embedding.values, text.embedding.values])
        states = np.stack([empty.token_states, text.token_states])
        masks = np.stack([empty.token_mask, text.token_mask])
        self._texts = [torch.from_numpy(part).to(device, dtype) for part in (vectors, states)]
        self._texts.append(torch.from_numpy(masks).to(device))
        self._pipeline._encode_prompt = lambda prompt, device, count, *_: self._encode(count)
        for stage, network in (("prior", "prior"), ("decoder", "text_proj"), ("upsampler", "super_res_first")):
            module = getattr(self._pipeline, network)
            module.register_forward_pre_hook(partial(self._begin, stage), with_kwargs=True)

    def compile(self) -> None:
        """Has the U-Nets compiled where they are next called, in the shapes that they are called in."""
        for name in ("decoder", "super_res_first", "super_res_last"):
            network = getattr(self._pipeline, name)
            network.forward = torch.compile(network.forward, dynamic=False)  # what is hooked to it stays outside

    def seconds(self, batch: int, settings: Settings) -> dict[str, float]:
        """Seconds of each stage for a batch of pictures."""
        self._began.clear()
        with patch.object(functional, "interpolate", interpolate):
            self._pipeline(
                "",
                num_images_per_prompt=batch,
                prior_num_inference_steps=settings["prior"].steps,
                prior_guidance_scale=settings["prior"].guidance_scale,
                decoder_num_inference_steps=settings["decoder"].steps,
                decoder_guidance_scale=settings["decoder"].guidance_scale,
                super_res_num_inference_steps=settings["upsampler"].steps,
                output_type="np",
            )
        edges = [*(self._began[stage] for stage in STAGES), clock(self.device)]
        return {stage: after - before for stage, (before, after) in zip(STAGES, pairwise(edges), strict=True)}

    def _encode(self, count: int) -> tuple[torch.Tensor, ...]:
        """Unconditional rows first, then conditional ones."""
        return tuple(part.repeat_interleave(count, dim=0) for part in self._texts)

    def _begin(self, stage: str, *_: object) -> None:
        if stage not in self._began:
            self._began[stage] = clock(self.device)


@wraps(functional.interpolate)
def interpolate(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
    """torch's, in float32 where it is bicubic: bfloat16 cannot everywhere, and the pipeline does so once a picture."""
    if options.get("mode") == "bicubic":
        return BUILT_IN(x.float(), *arguments, **options).to(x.dtype)
    return BUILT_IN(x, *arguments, **options)


def encoding(dim: int, context: int, seed: int) -> TextEncoding:
    """A random caption's encoding; text states are as wide as embeddings, as in Karlo."""
    rng = np.random.default_rng(seed)
    values, states = rng.normal(size=dim), rng.normal(size=(context, dim))
    mask = np.arange(context) < TOKENS
    return TextEncoding(Embedding(values.astype(np.float32), ""), states.astype(np.float32), mask)
