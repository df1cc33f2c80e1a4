"""Puts the prior service together: checkpoint, engine, servicer; ready once the prior has walked."""

from __future__ import annotations

import asyncio

import numpy as np

from prior_svc.prior import Prior
from prior_svc.servicer import PriorServicer
from prior_svc.settings import Settings
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoint import PRIOR_FOLDERS, Checkpoint
from unclip.engine.device import open_device
from unclip.engine.engine import Engine
from unclip.options import SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.model_app import ModelApp
from unclip.serving.server import Service
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.model_info import model_info, stage_info
from unclip.wire.requests import StageSpec

NAME = prior_pb2.DESCRIPTOR.services_by_name["PriorService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The service, warmed up.

    Raises:
        CheckpointError: the checkpoint is incomplete or altered.
        ConfigurationError: the device is not here.
    """
    loop, failed = asyncio.get_running_loop(), asyncio.Event()
    checkpoint = Checkpoint.open(settings.checkpoint)
    device = open_device(settings.device, settings.threads)
    prior = await asyncio.to_thread(Prior, checkpoint, device)
    engine = Engine(
        prior.programs,
        capacity=settings.capacity,
        max_batch=settings.max_batch,
        queue_limit=settings.queue_limit,
        stage="prior",
        on_failure=lambda _: loop.call_soon_threadsafe(failed.set),
    )
    defaults = checkpoint.defaults("prior")
    spec = StageSpec(checkpoint.clip_space, prior.embedding_dim, prior.context, defaults=defaults)
    await asyncio.to_thread(warm_up, prior, engine, spec)
    info = model_info(
        checkpoint,
        PRIOR_FOLDERS,
        str(device),
        ["sample"],
        [stage_info(sampling_pb2.STAGE_PRIOR, prior.parameters, defaults=defaults)],
    )
    servicer = PriorServicer(prior, engine, spec, info, Deadlines(settings.max_deadline))
    return ModelApp([Service(NAME, prior_pb2_grpc.add_PriorServiceServicer_to_server, servicer)], engine.close, failed)


def warm_up(prior: Prior, engine: Engine, spec: StageSpec) -> None:
    """Two guided steps, so that the first caller does not wait for what is done only once."""
    context = spec.context or 1
    text = TextEncoding(
        Embedding(np.zeros(spec.dim, np.float32), spec.clip_space),
        np.zeros((context, spec.dim), np.float32),
        np.ones(context, np.bool_),
    )
    walk = prior.walk(text, text, 0, 0, SamplingSettings("ddpm", 2, 2.0))
    with engine.reserve() as room:
        room.submit(walk)
        walk.future.result()
