"""Puts the decoder service together: one engine for the stages this replica serves, ready once they have walked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import torch

from decoder_svc.decoder import Decoder
from decoder_svc.servicer import DecoderServicer, UpsamplerServicer
from decoder_svc.settings import Settings
from decoder_svc.upsampler import Upsampler
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.checkpoint import DECODER_FOLDERS, OPTIONAL_FOLDERS, UPSAMPLER_FOLDERS, Checkpoint
from unclip.engine.device import open_device
from unclip.engine.engine import Engine
from unclip.engine.walk import Walk
from unclip.options import SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.model_app import ModelApp
from unclip.serving.server import Service
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.model_info import model_info, stage_info
from unclip.wire.requests import StageSpec

DECODER = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
UPSAMPLER = upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The services, warmed up.

    Raises:
        CheckpointError: the checkpoint is incomplete or altered.
        ConfigurationError: the device is not here.
    """
    loop, failed = asyncio.get_running_loop(), asyncio.Event()
    checkpoint = Checkpoint.open(settings.checkpoint)
    device = open_device(settings.device, settings.threads)
    stages = settings.stages.split(",")
    decoder = await asyncio.to_thread(Decoder, checkpoint, device) if "decode" in stages else None
    upsampler = await asyncio.to_thread(Upsampler, checkpoint, device) if "upsample" in stages else None
    engine = Engine(
        {**(decoder.programs if decoder else {}), **(upsampler.programs if upsampler else {})},
        capacity=settings.capacity,
        max_batch=settings.max_batch,
        queue_limit=settings.queue_limit,
        stage="decoder" if decoder else "upsampler",
        on_failure=lambda _: loop.call_soon_threadsafe(failed.set),
    )
    deadlines, services = Deadlines(settings.max_deadline), []
    if decoder:
        spec = StageSpec(
            checkpoint.clip_space,
            decoder.embedding_dim,
            size=decoder.size,
            defaults=checkpoint.defaults("decoder"),
        )
        info = model_info(
            checkpoint,
            DECODER_FOLDERS,
            str(device),
            ["decode", "invert"],
            [stage_info(sampling_pb2.STAGE_DECODER, decoder.parameters, spec.size, spec.defaults)],
        )
        await asyncio.to_thread(run, engine, [trial_of_decoder(decoder, spec)])
        servicer = DecoderServicer(decoder, engine, spec, info, deadlines)
        services.append(Service(DECODER, decoder_pb2_grpc.add_DecoderServiceServicer_to_server, servicer))
    if upsampler:
        spec = StageSpec("", 0, size=upsampler.size, defaults=checkpoint.defaults("upsampler"))
        info = upsampler_info(checkpoint, upsampler, spec, device)
        await asyncio.to_thread(run, engine, [trial_of_upsampler(upsampler)])
        fine = UpsamplerServicer(upsampler, engine, spec, info, deadlines)
        services.append(Service(UPSAMPLER, upsampler_pb2_grpc.add_UpsamplerServiceServicer_to_server, fine))
    return ModelApp(services, engine.close, failed)


def upsampler_info(
    checkpoint: Checkpoint, upsampler: Upsampler, spec: StageSpec, device: torch.device
) -> model_info_pb2.ModelInfo:
    """What the upsampler says of itself; the folder of the last step's network is optional."""
    folders = [*UPSAMPLER_FOLDERS, *(folder for folder in OPTIONAL_FOLDERS if checkpoint.has(folder))]
    stage = stage_info(sampling_pb2.STAGE_UPSAMPLER, upsampler.parameters, spec.size, spec.defaults)
    return model_info(checkpoint, folders, str(device), ["upsample"], [stage])


def trial_of_decoder(decoder: Decoder, spec: StageSpec) -> Walk:
    """Two guided steps, so that the first caller does not wait for what is done only once."""
    text = TextEncoding(
        Embedding(np.zeros(spec.dim, np.float32), spec.clip_space),
        np.zeros((8, spec.dim), np.float32),
        np.ones(8, np.bool_),
    )
    return decoder.decode(torch.zeros(spec.dim), None, text, 0, SamplingSettings("ddpm", 2, 2.0))


def trial_of_upsampler(upsampler: Upsampler) -> Walk:
    """Two steps: with Karlo's layout one for each of its networks."""
    return upsampler.walk(torch.zeros(3, 8, 8), 0, SamplingSettings("ddpm", 2))


def run(engine: Engine, walks: Sequence[Walk]) -> None:
    """Walks to the end. Raises what ended one of the walks."""
    with engine.reserve(len(walks)) as room:
        for walk in walks:
            room.submit(walk)
        for walk in walks:
            walk.future.result()
