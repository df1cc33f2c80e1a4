"""Puts the encoder service together: checkpoint, engine, servicer; ready once CLIP has run."""

from __future__ import annotations

import asyncio

from PIL import Image

from encoder_svc.encoder import Encoder
from encoder_svc.servicer import EncoderServicer
from encoder_svc.settings import Settings
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoint import ENCODER_FOLDERS, Checkpoint
from unclip.engine.device import open_device
from unclip.engine.engine import Engine
from unclip.serving.deadlines import Deadlines
from unclip.serving.model_app import ModelApp
from unclip.serving.server import Service
from unclip.wire.model_info import model_info, stage_info

NAME = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The service, warmed up.

    Raises:
        CheckpointError: the checkpoint is incomplete or altered.
        ConfigurationError: the device is not here.
    """
    loop, failed = asyncio.get_running_loop(), asyncio.Event()
    checkpoint = Checkpoint.open(settings.checkpoint)
    device = open_device(settings.device, settings.threads)
    encoder = await asyncio.to_thread(Encoder, checkpoint, device)
    engine = Engine(
        encoder.programs,
        capacity=settings.capacity,
        max_batch=settings.max_batch,
        queue_limit=settings.queue_limit,
        stage="encoder",
        on_failure=lambda _: loop.call_soon_threadsafe(failed.set),
    )
    await asyncio.to_thread(warm_up, encoder, engine)
    info = model_info(
        checkpoint,
        ENCODER_FOLDERS,
        str(device),
        ["encode_text", "encode_image"],
        [stage_info(sampling_pb2.STAGE_ENCODER, encoder.parameters)],
    )
    servicer = EncoderServicer(encoder, engine, info, Deadlines(settings.max_deadline))
    service = Service(NAME, encoder_pb2_grpc.add_EncoderServiceServicer_to_server, servicer)
    return ModelApp([service], engine.close, failed)


def warm_up(encoder: Encoder, engine: Engine) -> None:
    """Runs both encoders once, so that the first caller does not wait for what is done only once."""
    side = encoder.image_size
    ids, _ = encoder.tokenize([""])
    jobs = [*encoder.text_jobs(ids), *encoder.image_jobs([Image.new("RGB", (side, side))])]
    with engine.reserve(len(jobs)) as room:
        for job in jobs:
            room.submit(job)
        for job in jobs:
            job.future.result()
