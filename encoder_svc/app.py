"""Puts the encoder service together: checkpoint, engine, servicer; ready once CLIP has run."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from PIL import Image

from encoder_svc.encoder import Encoder
from encoder_svc.networks import signature
from encoder_svc.servicer import EncoderServicer
from encoder_svc.settings import Settings
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import FETCHED, IMAGE_FOLDERS, TEXT_FOLDERS
from unclip.checkpoints.manifest import combined_digest
from unclip.checkpoints.sources import completing
from unclip.engine.engine import Engine
from unclip.engine.forward import ForwardJob
from unclip.errors import CheckpointError
from unclip.model_app import ModelApp, ModelService, build_app, load
from unclip.networks.interface import NetworkName
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.model_info import model_info, stage_info
from unclip.serving.server import Service

log = logging.getLogger(__name__)
NAME = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The service, warmed up. Raises as `build_app`."""
    checkpoint = await load(Checkpoint.open_for, "encoder", settings.checkpoint, FETCHED["encoder"])
    images = await load(image_checkpoint, checkpoint, settings.image_encoder)
    texts = await load(completed, checkpoint, "text_encoder", TEXT_FOLDERS)
    precision = "float32" if settings.precision == "auto" else settings.precision

    def serve(encoder: Encoder, engine: Engine) -> Service:
        able = ["encode_text" if encoder.reads_text else "read_text", *(["encode_image"] if encoder.image_size else [])]
        stage = stage_info(sampling_pb2.STAGE_ENCODER, encoder.parameters, room=settings.room)
        own = checkpoint.components("encoder")
        info = model_info(checkpoint, own, encoder.where, able, [stage], encoder.embedding_dim)
        for other, parts in ((images, IMAGE_FOLDERS), (texts, TEXT_FOLDERS)):
            if other is not None:
                info.version = combined_digest([info.version, other.version(parts)])
        decoding = Decoding("encoder", settings.decode_megapixels * 1_000_000)
        servicer = EncoderServicer(encoder, engine, info, Deadlines(settings.max_deadline), decoding)
        add = encoder_pb2_grpc.add_EncoderServiceServicer_to_server
        return Service(NAME, add, servicer, version=info.version)

    weights: dict[NetworkName, Checkpoint] = {
        "text_encoder": texts or checkpoint,
        "decoder_text_encoder": checkpoint,
        "image_encoder": images or checkpoint,
    }
    encoder = ModelService("encoder", partial(Encoder, checkpoint, images=images, texts=texts), trial, serve)
    return await build_app(replace(settings, precision=precision), weights, signature, [encoder])


def image_checkpoint(checkpoint: Checkpoint, chosen: str) -> Checkpoint | None:
    """The other checkpoint that the image encoder comes from, None where there is none or ``checkpoint`` has its own.

    Raises:
        CheckpointError: the ``chosen`` one is not there, or has no image encoder either.
    """
    if chosen:
        other = Checkpoint.open(chosen, IMAGE_FOLDERS)
        other.verify(IMAGE_FOLDERS)
        return other
    return completed(checkpoint, "image_encoder", IMAGE_FOLDERS)


def completed(checkpoint: Checkpoint, encoder: str, folders: tuple[str, str]) -> Checkpoint | None:
    """The checkpoint known to have the ``encoder`` that this one lacks; None where none is, or it is not there."""
    try:
        return completing(checkpoint, encoder, folders)
    except CheckpointError as error:
        log.warning("no %s: %s", encoder, error)
        return None


def trial(encoder: Encoder) -> list[ForwardJob]:
    """A caption, and a picture where pictures can be read."""
    pictures = [Image.new("RGB", (encoder.image_size,) * 2)] if encoder.image_size else []
    return [*encoder.text_jobs(encoder.tokenize([""])), *(encoder.image_jobs(pictures) if pictures else [])]
