"""Puts the decoder service together: one engine for the stages this replica serves, ready once they have walked."""

from __future__ import annotations

import numpy as np

from decoder_svc.decoder import Decoder
from decoder_svc.networks import signature
from decoder_svc.servicer import DecoderServicer, UpsamplerServicer
from decoder_svc.settings import Settings
from decoder_svc.upsampler import Upsampler
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.checkpoints.checkpoint import DECODER_FOLDERS, OPTIONAL_FOLDERS, UPSAMPLER_FOLDERS, Checkpoint
from unclip.engine.trajectory import Trajectory
from unclip.model_app import ModelApp, load
from unclip.networks.device import open_device
from unclip.networks.interface import COMPONENTS, NetworkName
from unclip.options import Room, SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.server import Service
from unclip.triton.address import cpu_threads, parse_networks
from unclip.triton.remote import connect
from unclip.wire.embeddings import TextEncoding
from unclip.wire.model_info import model_info, stage_info
from unclip.wire.tasks import DecodeTask, StageSpec, UpsampleTask

DECODER = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
FOLDERS = {"decode": DECODER_FOLDERS, "upsample": (*UPSAMPLER_FOLDERS, *OPTIONAL_FOLDERS)}
NETWORKS: dict[str, tuple[NetworkName, ...]] = {"decode": ("decoder",), "upsample": ("upsampler", "upsampler_last")}
UPSAMPLER = upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The services, warmed up.

    Raises:
        CheckpointError: the checkpoint is incomplete or altered.
        ConfigurationError: the device is not here.
    """
    stages = settings.stages.split(",")
    folders = [folder for stage in stages for folder in FOLDERS[stage]]
    checkpoint = await load(Checkpoint.open, settings.checkpoint, folders)
    precision, deadlines = settings.precision, Deadlines(settings.max_deadline)
    served = [name for stage in stages for name in NETWORKS[stage]]
    needed = [name for name in served if checkpoint.has(COMPONENTS[name])]
    elsewhere = parse_networks(settings.network, served)
    device = open_device(settings.device, cpu_threads(settings.threads, elsewhere, needed))
    remotes = await connect(elsewhere, lambda name: signature(name, checkpoint), lambda _: checkpoint)
    how = (checkpoint, device, precision, remotes, bool(settings.offload))
    decoder = await load(Decoder, *how) if "decode" in stages else None
    upsampler = await load(Upsampler, *how) if "upsample" in stages else None
    programs = {**(decoder.programs if decoder else {}), **(upsampler.programs if upsampler else {})}
    app = ModelApp.start(settings, programs, "decoder" if decoder else "upsampler", remotes)
    if decoder:
        spec = StageSpec(
            checkpoint.clip_space, decoder.embedding_dim, size=decoder.size, defaults=checkpoint.defaults("decoder")
        )
        await app.warm_up(lambda: [trial_of_decoder(decoder)])
        info = decoder_info(checkpoint, decoder, spec, settings.room)
        decoding = Decoding("decoder", settings.decode_megapixels * 1_000_000)
        servicer = DecoderServicer(decoder, app.engine, spec, info, deadlines, decoding)
        add = decoder_pb2_grpc.add_DecoderServiceServicer_to_server
        app.services.append(Service(DECODER, add, servicer, version=info.version))
    if upsampler:
        spec = StageSpec("", 0, size=upsampler.size, defaults=checkpoint.defaults("upsampler"))
        await app.warm_up(lambda: [trial_of_upsampler(upsampler)])
        info = upsampler_info(checkpoint, upsampler, spec, settings.room)
        fine = UpsamplerServicer(upsampler, app.engine, spec, info, deadlines)
        add_fine = upsampler_pb2_grpc.add_UpsamplerServiceServicer_to_server
        app.services.append(Service(UPSAMPLER, add_fine, fine, version=info.version))
    return app


def decoder_info(checkpoint: Checkpoint, decoder: Decoder, spec: StageSpec, room: Room) -> model_info_pb2.ModelInfo:
    """What the decoder says of itself."""
    stage = stage_info(sampling_pb2.STAGE_DECODER, decoder.parameters, spec.size, spec.defaults, room)
    able = ["decode", "invert", "edit"]
    return model_info(checkpoint, DECODER_FOLDERS, decoder.where, able, [stage], decoder.embedding_dim)


def upsampler_info(
    checkpoint: Checkpoint, upsampler: Upsampler, spec: StageSpec, room: Room
) -> model_info_pb2.ModelInfo:
    """What the upsampler says of itself; the folder of the last step's network is optional."""
    folders = [*UPSAMPLER_FOLDERS, *(folder for folder in OPTIONAL_FOLDERS if checkpoint.has(folder))]
    stage = stage_info(sampling_pb2.STAGE_UPSAMPLER, upsampler.parameters, spec.size, spec.defaults, room)
    return model_info(checkpoint, folders, upsampler.where, ["upsample", "edit"], [stage])


def trial_of_decoder(decoder: Decoder) -> Trajectory:
    """Two guided steps."""
    text = TextEncoding.blank(decoder.embedding_dim, 8, decoder.embedding_dim)
    return decoder.decode(DecodeTask(text.embedding, text, 0, SamplingSettings("ddpm", 2, 2.0)))


def trial_of_upsampler(upsampler: Upsampler) -> Trajectory:
    """Two steps: with Karlo's layout one for each of its networks."""
    return upsampler.upsample(UpsampleTask(np.zeros((3, 8, 8), np.float32), 0, SamplingSettings("ddpm", 2)))
