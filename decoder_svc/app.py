"""Puts the decoder service together: one engine for the stages this replica serves, ready once they are warmed up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from decoder_svc.autoencoder import Autoencoder
from decoder_svc.decoder import Decoder
from decoder_svc.latents import TRIAL
from decoder_svc.networks import signature
from decoder_svc.servicer import DecoderServicer, UpsamplerServicer
from decoder_svc.settings import Settings
from decoder_svc.upsampler import Upsampler
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import FETCHED
from unclip.checkpoints.manifest import combined_digest
from unclip.engine.engine import Engine
from unclip.engine.forward import ForwardJob
from unclip.engine.trajectory import Trajectory
from unclip.model_app import ModelApp, ModelService, build_app, load
from unclip.networks.interface import NetworkName
from unclip.options import INVERSION_PASSES, SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.model_info import model_info, stage_info
from unclip.serving.server import Service
from unclip.wire.embeddings import TextEncoding
from unclip.wire.stage_reading import StageSpec
from unclip.wire.tasks import DecodeTask, UpsampleTask

DECODER = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
FOLDERS = {"decode": FETCHED["decoder"], "upsample": FETCHED["upsampler"]}
NETWORKS: dict[str, tuple[NetworkName, ...]] = {
    "decode": ("decoder", "decoder_student", "latent_encoder"),
    "upsample": ("upsampler", "upsampler_last", "latent_decoder"),
}
UPSAMPLER = upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The services, warmed up. Raises as `build_app`."""
    stages = settings.stages.split(",")
    folders = [folder for stage in stages for folder in FOLDERS[stage]]
    checkpoint = await load(Checkpoint.open_for, "decoder", settings.checkpoint, folders)
    services = {"decode": decoder_service, "upsample": autoencoder_service if checkpoint.latent else upsampler_service}
    weights = {name: checkpoint for stage in NETWORKS if stage in stages for name in NETWORKS[stage]}
    chosen = [make(checkpoint, settings) for stage, make in services.items() if stage in stages]
    return await build_app(settings, weights, signature, chosen)


def decoder_service(checkpoint: Checkpoint, settings: Settings) -> ModelService[Any]:
    """DecoderService."""

    def trial(decoder: Decoder) -> list[Trajectory]:
        """Two guided steps, and where there is a student two of its own."""
        text = TextEncoding.blank(decoder.embedding_dim, 8, decoder.embedding_dim, decoder.states_width)
        gist = text.embedding
        task = DecodeTask(gist, text, 0, SamplingSettings("ddpm", 2, 2.0), unconditional_embedding=gist)
        return [decoder.decode(each) for each in (task, *([replace(task, fast=True)] if decoder.fast else []))]

    def serve(decoder: Decoder, engine: Engine) -> Service:
        dim, size, defaults = decoder.embedding_dim, decoder.size, checkpoint.defaults("decoder")
        silent, sizes = decoder.ignores_text, checkpoint.sizes
        spec = StageSpec(
            checkpoint.clip_space,
            dim,
            size=size,
            defaults=defaults,
            sizes=sizes,
            fast=decoder.fast,
            channels=decoder.channels,
            scale=decoder.scale,
            ignores_text=silent,
            states_width=decoder.states_width,
            max_steps=decoder.max_steps,
            max_fast_steps=decoder.max_fast_steps,
        )
        stage = stage_info(
            sampling_pb2.STAGE_DECODER,
            decoder.parameters,
            size,
            defaults,
            settings.room,
            sizes,
            silent,
            decoder.fast,
            decoder.max_steps,
        )
        able, folders = ["decode", "invert", "edit"], checkpoint.components("decoder")
        info = model_info(checkpoint, folders, decoder.where, able, [stage], dim)
        # Of the same weights, a program that inverts in another way finds another x_T: no request may mix the two.
        info.version = combined_digest([info.version, f"inversion {INVERSION_PASSES}"])
        decoding = Decoding("decoder", settings.decode_megapixels * 1_000_000)
        servicer = DecoderServicer(decoder, engine, spec, info, Deadlines(settings.max_deadline), decoding)
        add = decoder_pb2_grpc.add_DecoderServiceServicer_to_server
        return Service(DECODER, add, servicer, version=info.version)

    return ModelService("decoder", partial(Decoder, checkpoint), trial, serve)


def upsampler_service(checkpoint: Checkpoint, settings: Settings) -> ModelService[Any]:
    """UpsamplerService; the folder of the last step's network is optional."""

    def trial(upsampler: Upsampler) -> list[Trajectory]:
        """Two steps: with Karlo's layout one for each of its networks."""
        return [upsampler.upsample(UpsampleTask(np.zeros((3, 8, 8), np.float32), 0, SamplingSettings("ddpm", 2)))]

    def serve(upsampler: Upsampler, engine: Engine) -> Service:
        size, defaults = upsampler.size, checkpoint.defaults("upsampler")
        spec = StageSpec("", 0, size=size, defaults=defaults, max_steps=upsampler.max_steps)
        stage = stage_info(
            sampling_pb2.STAGE_UPSAMPLER,
            upsampler.parameters,
            size,
            defaults,
            settings.room,
            fast=checkpoint.fast("upsampler"),
            max_steps=upsampler.max_steps,
        )
        return finishing(upsampler, engine, checkpoint, settings, spec, stage)

    return ModelService("upsampler", partial(Upsampler, checkpoint), trial, serve)


def autoencoder_service(checkpoint: Checkpoint, settings: Settings) -> ModelService[Any]:
    """UpsamplerService of a decoder that walks latents."""

    def trial(autoencoder: Autoencoder) -> list[ForwardJob]:
        """A small picture."""
        latents = np.zeros((autoencoder.channels, TRIAL, TRIAL), np.float32)
        return [autoencoder.upsample(UpsampleTask(latents, 0, SamplingSettings()))]

    def serve(autoencoder: Autoencoder, engine: Engine) -> Service:
        size, defaults, sizes = autoencoder.size, checkpoint.defaults("upsampler"), checkpoint.sizes
        channels, scale = autoencoder.channels, autoencoder.scale
        spec = StageSpec("", 0, size=size, defaults=defaults, sizes=sizes, channels=channels, scale=scale)
        stage = stage_info(sampling_pb2.STAGE_UPSAMPLER, autoencoder.parameters, size, defaults, settings.room, sizes)
        return finishing(autoencoder, engine, checkpoint, settings, spec, stage)

    return ModelService("upsampler", partial(Autoencoder, checkpoint), trial, serve)


def finishing(
    model: Upsampler | Autoencoder,
    engine: Engine,
    checkpoint: Checkpoint,
    settings: Settings,
    spec: StageSpec,
    stage: model_info_pb2.StageInfo,
) -> Service:
    """UpsamplerService, answered by ``model``."""
    info = model_info(checkpoint, checkpoint.components("upsampler"), model.where, ["upsample", "edit"], [stage])
    servicer = UpsamplerServicer(model, engine, spec, info, Deadlines(settings.max_deadline))
    add = upsampler_pb2_grpc.add_UpsamplerServiceServicer_to_server
    return Service(UPSAMPLER, add, servicer, version=info.version)
