"""Puts the decoder service together: one engine for the stages this replica serves, ready once they are warmed up."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from decoder_svc.decoder import Decoder
from decoder_svc.networks import signature
from decoder_svc.servicer import DecoderServicer, UpsamplerServicer
from decoder_svc.settings import Settings
from decoder_svc.upsampler import Upsampler
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoints.checkpoint import DECODER_FOLDERS, OPTIONAL_FOLDERS, UPSAMPLER_FOLDERS, Checkpoint
from unclip.engine.engine import Engine
from unclip.engine.trajectory import Trajectory
from unclip.model_app import ModelApp, ModelService, build_app, load
from unclip.networks.interface import NetworkName
from unclip.options import SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.model_info import model_info, stage_info
from unclip.serving.server import Service
from unclip.wire.embeddings import TextEncoding
from unclip.wire.tasks import DecodeTask, StageSpec, UpsampleTask

DECODER = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
FOLDERS = {"decode": DECODER_FOLDERS, "upsample": (*UPSAMPLER_FOLDERS, *OPTIONAL_FOLDERS)}
NETWORKS: dict[str, tuple[NetworkName, ...]] = {"decode": ("decoder",), "upsample": ("upsampler", "upsampler_last")}
UPSAMPLER = upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The services, warmed up. Raises as `build_app`."""
    stages = settings.stages.split(",")
    folders = [folder for stage in stages for folder in FOLDERS[stage]]
    checkpoint = await load(Checkpoint.open, settings.checkpoint, folders)
    services = {"decode": decoder_service, "upsample": upsampler_service}
    weights = {name: checkpoint for stage in NETWORKS if stage in stages for name in NETWORKS[stage]}
    chosen = [make(checkpoint, settings) for stage, make in services.items() if stage in stages]
    return await build_app(settings, weights, signature, chosen)


def decoder_service(checkpoint: Checkpoint, settings: Settings) -> ModelService[Any]:
    """DecoderService."""

    def trial(decoder: Decoder) -> list[Trajectory]:
        """Two guided steps."""
        text = TextEncoding.blank(decoder.embedding_dim, 8, decoder.embedding_dim)
        return [decoder.decode(DecodeTask(text.embedding, text, 0, SamplingSettings("ddpm", 2, 2.0)))]

    def serve(decoder: Decoder, engine: Engine) -> Service:
        dim, size, defaults = decoder.embedding_dim, decoder.size, checkpoint.defaults("decoder")
        spec = StageSpec(checkpoint.clip_space, dim, size=size, defaults=defaults)
        stage = stage_info(sampling_pb2.STAGE_DECODER, decoder.parameters, size, defaults, settings.room)
        info = model_info(checkpoint, DECODER_FOLDERS, decoder.where, ["decode", "invert", "edit"], [stage], dim)
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
        spec = StageSpec("", 0, size=size, defaults=defaults)
        folders = [*UPSAMPLER_FOLDERS, *(folder for folder in OPTIONAL_FOLDERS if checkpoint.has(folder))]
        stage = stage_info(sampling_pb2.STAGE_UPSAMPLER, upsampler.parameters, size, defaults, settings.room)
        info = model_info(checkpoint, folders, upsampler.where, ["upsample", "edit"], [stage])
        servicer = UpsamplerServicer(upsampler, engine, spec, info, Deadlines(settings.max_deadline))
        add = upsampler_pb2_grpc.add_UpsamplerServiceServicer_to_server
        return Service(UPSAMPLER, add, servicer, version=info.version)

    return ModelService("upsampler", partial(Upsampler, checkpoint), trial, serve)
