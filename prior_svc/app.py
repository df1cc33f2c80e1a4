"""Puts the prior service together: checkpoint, engine, servicer; ready once the prior has walked."""

from __future__ import annotations

from prior_svc.networks import signature
from prior_svc.prior import Prior
from prior_svc.servicer import NoPriorServicer, PriorServicer
from prior_svc.settings import Settings
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoints.checkpoint import PRIOR_FOLDERS, Checkpoint
from unclip.engine.trajectory import Trajectory
from unclip.model_app import ModelApp, load
from unclip.networks.device import open_device
from unclip.networks.interface import NetworkName, running_on
from unclip.options import SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.server import Service
from unclip.triton.address import cpu_threads, parse_networks
from unclip.triton.remote import connect
from unclip.wire.embeddings import TextEncoding
from unclip.wire.model_info import model_info, stage_info
from unclip.wire.tasks import SampleTask, StageSpec

NETWORKS: tuple[NetworkName, ...] = ("prior",)
NAME = prior_pb2.DESCRIPTOR.services_by_name["PriorService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The service, warmed up.

    Raises:
        CheckpointError: the checkpoint is incomplete or altered.
        ConfigurationError: the device is not here.
    """
    checkpoint = await load(Checkpoint.open, settings.checkpoint, PRIOR_FOLDERS)
    elsewhere = parse_networks(settings.network, NETWORKS)
    device = open_device(settings.device, cpu_threads(settings.threads, elsewhere, NETWORKS))
    if checkpoint.lacks("prior"):
        app = ModelApp.start(settings, {}, "prior")
        info = model_info(checkpoint, PRIOR_FOLDERS, str(device), [], [])
        app.services.append(service(NoPriorServicer(info), info.version))
        return app
    remotes = await connect(elsewhere, lambda name: signature(name, checkpoint), lambda _: checkpoint)
    prior = await load(Prior, checkpoint, device, settings.precision, remotes, bool(settings.offload))
    defaults = checkpoint.defaults("prior")
    spec = StageSpec(checkpoint.clip_space, prior.embedding_dim, prior.context, defaults=defaults)
    app = ModelApp.start(settings, prior.programs, "prior", remotes)
    await app.warm_up(lambda: [trial(prior)])
    info = model_info(
        checkpoint,
        PRIOR_FOLDERS,
        running_on(device, remotes, NETWORKS),
        ["sample"],
        [stage_info(sampling_pb2.STAGE_PRIOR, prior.parameters, defaults=defaults, room=settings.room)],
        prior.embedding_dim,
    )
    servicer = PriorServicer(prior, app.engine, spec, info, Deadlines(settings.max_deadline))
    app.services.append(service(servicer, info.version))
    return app


def service(servicer: prior_pb2_grpc.PriorServiceServicer, version: str) -> Service:
    """PriorService, answered by ``servicer``."""
    return Service(NAME, prior_pb2_grpc.add_PriorServiceServicer_to_server, servicer, version=version)


def trial(prior: Prior) -> Trajectory:
    """Two guided steps."""
    text = TextEncoding.blank(prior.embedding_dim, prior.context, prior.embedding_dim)
    return prior.sample(SampleTask(text, text, 0, SamplingSettings("ddpm", 2, 2.0)))
