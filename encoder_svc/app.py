"""Puts the encoder service together: checkpoint, engine, servicer; ready once CLIP has run."""

from __future__ import annotations

from PIL import Image

from encoder_svc.encoder import Encoder
from encoder_svc.servicer import EncoderServicer
from encoder_svc.settings import Settings
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoint import ENCODER_FOLDERS, Checkpoint
from unclip.engine.device import open_device
from unclip.engine.walk import Once
from unclip.model_app import ModelApp, load
from unclip.serving.deadlines import Deadlines
from unclip.serving.server import Service
from unclip.wire.model_info import model_info, stage_info

NAME = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The service, warmed up.

    Raises:
        CheckpointError: the checkpoint is incomplete or altered.
        ConfigurationError: the device is not here.
    """
    checkpoint = Checkpoint.open(settings.checkpoint)
    device = open_device(settings.device, settings.threads)
    encoder = await load(Encoder, checkpoint, device)
    app = ModelApp.start(settings, encoder.programs, "encoder")
    await app.warm_up(lambda: trial(encoder))
    info = model_info(
        checkpoint,
        ENCODER_FOLDERS,
        str(device),
        ["encode_text", "encode_image"],
        [stage_info(sampling_pb2.STAGE_ENCODER, encoder.parameters)],
        encoder.embedding_dim,
    )
    servicer = EncoderServicer(encoder, app.engine, info, Deadlines(settings.max_deadline))
    app.services.append(Service(NAME, encoder_pb2_grpc.add_EncoderServiceServicer_to_server, servicer))
    return app


def trial(encoder: Encoder) -> list[Once]:
    """A caption and a picture."""
    ids, _ = encoder.tokenize([""])
    return [*encoder.text_jobs(ids), *encoder.image_jobs([Image.new("RGB", (encoder.image_size,) * 2)])]
