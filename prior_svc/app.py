"""Puts the prior service together: checkpoint, engine, servicer; ready once the prior is warmed up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from prior_svc.networks import signature
from prior_svc.prior import Prior
from prior_svc.servicer import NoPriorServicer, PriorServicer
from prior_svc.settings import Settings
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import PRIOR_FOLDERS
from unclip.engine.engine import Engine
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.model_app import ModelApp, ModelService, build_app, load
from unclip.options import SamplingSettings
from unclip.serving.deadlines import Deadlines
from unclip.serving.model_info import model_info, stage_info
from unclip.serving.server import Service
from unclip.wire.embeddings import TextEncoding
from unclip.wire.stage_reading import StageSpec
from unclip.wire.tasks import SampleTask

NAME = prior_pb2.DESCRIPTOR.services_by_name["PriorService"].full_name


async def build(settings: Settings) -> ModelApp:
    """The service, warmed up. Raises as `build_app`."""
    checkpoint = await load(Checkpoint.open_for, "prior", settings.checkpoint, PRIOR_FOLDERS)
    if checkpoint.lacks("prior"):
        return await build_app(replace(settings, network=""), {}, signature, [no_prior(checkpoint)])

    def serve(prior: Prior, engine: Engine) -> Service:
        defaults = checkpoint.defaults("prior")
        spec = StageSpec(
            checkpoint.clip_space,
            prior.embedding_dim,
            prior.context,
            defaults=defaults,
            max_steps=prior.max_steps,
        )
        stage = stage_info(
            sampling_pb2.STAGE_PRIOR,
            prior.parameters,
            defaults=defaults,
            room=settings.room,
            max_steps=prior.max_steps,
        )
        info = model_info(checkpoint, PRIOR_FOLDERS, prior.where, ["sample"], [stage], prior.embedding_dim)
        return service(PriorServicer(prior, engine, spec, info, Deadlines(settings.max_deadline)), info.version)

    prior = ModelService("prior", partial(Prior, checkpoint), trial, serve)
    return await build_app(settings, {"prior": checkpoint}, signature, [prior])


def no_prior(checkpoint: Checkpoint) -> ModelService[NoPrior]:
    """What stands where ``checkpoint``, whole as it is, has no prior."""

    def serve(model: NoPrior, engine: Engine) -> Service:
        info = model_info(checkpoint, PRIOR_FOLDERS, model.where, [], [])
        return service(NoPriorServicer(info), info.version)

    return ModelService("prior", lambda device, *_: NoPrior(str(device)), lambda _: [], serve)


@dataclass(frozen=True)
class NoPrior:
    """No networks. where: the place they would run on."""

    where: str
    programs: Mapping[str, TrajectoryProgram] = field(default_factory=dict)


def service(servicer: prior_pb2_grpc.PriorServiceServicer, version: str) -> Service:
    """PriorService, answered by ``servicer``."""
    return Service(NAME, prior_pb2_grpc.add_PriorServiceServicer_to_server, servicer, version=version)


def trial(prior: Prior) -> list[Trajectory]:
    """Two guided steps."""
    text = TextEncoding.blank(prior.embedding_dim, prior.context, prior.embedding_dim)
    return [prior.sample(SampleTask(text, text, 0, SamplingSettings("ddpm", 2, 2.0)))]
