"""Puts a process with networks together: its services, in front of one engine, ready once each has run a trial."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from unclip.api.decoder.v1 import decoder_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.checkpoints.checkpoint import Checkpoint, loading
from unclip.engine.admission import Expected
from unclip.engine.engine import Engine
from unclip.engine.job import Job, Program
from unclip.errors import CheckpointError
from unclip.malloc import keep_large_blocks, return_large_blocks
from unclip.networks.device import open_device
from unclip.networks.interface import COMPONENTS, NetworkName, Remotes, Signature
from unclip.options import SamplingSettings, ServiceName
from unclip.serving.metrics import EngineMetrics
from unclip.serving.server import Service
from unclip.serving.settings import ModelSettings
from unclip.triton.address import cpu_threads, parse_networks
from unclip.triton.remote import TritonNetwork, connect, watch
from unclip.wire.limits import MAX_STEPS

Loaded = TypeVar("Loaded")
Model = TypeVar("Model")


async def load(build: Callable[..., Loaded], *arguments: Any) -> Loaded:
    """``build(*arguments)``, beside the event loop, in a thread that ends with it.

    A thread that stayed would keep OpenMP workers; see `unclip.engine.engine.Engine.call`.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as once:
        return await asyncio.get_running_loop().run_in_executor(once, build, *arguments)


async def own_threads(engine: Engine) -> None:
    """Leaves the threads of an operation to the engine: every other thread computes alone, see `Engine.call`."""
    threads = torch.get_num_threads()

    def have() -> None:
        torch.get_num_threads()  # a thread's first question sets what it has to what was last set anywhere
        torch.set_num_threads(threads)

    await asyncio.wrap_future(engine.call(have))
    torch.set_num_threads(1)  # of this thread, and of those to come


def expected(
    program: str,
    options: sampling_pb2.SamplingOptions,
    defaults: SamplingSettings,
    deadline: float,
    priority: int = 0,
    scale: float = 1.0,
    distilled: bool = False,
) -> Expected:
    """The trajectory that ``options`` ask for, before these are checked: one without a chance is refused first.

    distilled: from guidance, so that a step is one pass.
    """
    guidance = options.guidance_scale if options.HasField("guidance_scale") else defaults.guidance_scale
    width = 1 if distilled or guidance == 1.0 else 2
    return Expected(program, asked_steps(options, defaults), deadline, width, priority, scale)


def asked_steps(request: sampling_pb2.SamplingOptions | decoder_pb2.InvertRequest, defaults: SamplingSettings) -> int:
    """How many are asked for, before they are checked: as many at least, and at most, as any stage takes."""
    steps = request.steps if request.HasField("steps") else defaults.steps
    return min(max(steps, 1), MAX_STEPS)


@dataclass(frozen=True)
class ModelService(Generic[Model]):
    """One service of a process.

    load: its networks, with ``programs`` for an engine; given the device, their precision, those that others run, and
    whether to offload. trial: jobs that take every path of them once. serve: what answers from them by that engine.
    """

    stage: ServiceName
    load: Callable[[torch.device, str, Remotes, bool], Model]
    trial: Callable[[Model], Sequence[Job[Any]]]
    serve: Callable[[Model, Engine], Service]


@dataclass
class ModelApp:
    """Services in front of one engine; see `unclip.serving.server.App`. remotes: networks that others run."""

    engine: Engine
    failed: asyncio.Event
    services: list[Service] = field(default_factory=list)
    remotes: Sequence[TritonNetwork] = ()

    @classmethod
    def start(
        cls,
        settings: ModelSettings,
        programs: Mapping[str, Program[Any]],
        stage: str,
        remotes: Mapping[NetworkName, TritonNetwork],
    ) -> ModelApp:
        """An app with a running engine and no services yet. Call it on the event loop that will serve."""
        loop, failed, metrics = asyncio.get_running_loop(), asyncio.Event(), EngineMetrics(stage)
        engine = Engine(
            programs,
            capacity=settings.capacity,
            max_batch=settings.max_batch,
            queue_limit=settings.queue_limit,
            stage=stage,
            on_failure=lambda _: loop.call_soon_threadsafe(failed.set),
            observer=metrics,
        )
        metrics.watch(engine.load, settings.capacity)
        return cls(engine, failed, remotes=list(remotes.values()))

    async def warm_up(self, trial: Callable[[], Sequence[Job[Any]]]) -> None:
        """Runs the jobs of ``trial``, so that the first caller does not wait for what is done only once.

        Raises:
            CheckpointError: what comes of one are no numbers.
        """
        for job in await asyncio.wrap_future(self.engine.call(trial)):
            with self.engine.reserve() as room:
                room.submit(job)
            if not bool((await asyncio.wrap_future(job.future)).isfinite().all()):
                raise CheckpointError(f"checkpoint: {job.program} does not load: its trial run made no numbers")

    async def watch(self, set_ready: Callable[[bool], Awaitable[None]]) -> None:
        """Passes on whether the networks that others run are there, whenever that changes."""
        if self.remotes:
            await watch(self.remotes, set_ready)

    async def close(self) -> None:
        """Ends what still runs."""
        await asyncio.to_thread(self.engine.close)
        for network in self.remotes:
            await network.close()


async def build_app(
    settings: ModelSettings,
    weights: Mapping[NetworkName, Checkpoint],
    signature: Callable[[NetworkName, Checkpoint], Signature],
    services: Sequence[ModelService[Any]],
) -> ModelApp:
    """The app of ``services``, warmed up. weights: the checkpoint of each network that may run here.

    Raises:
        CheckpointError: a checkpoint is incomplete or altered.
        ConfigurationError: the device is not here, or a network that others run is another one.
    """
    elsewhere = parse_networks(settings.network, weights)
    needed = [name for name, checkpoint in weights.items() if checkpoint.has(COMPONENTS[name])]
    device = open_device(settings.device, cpu_threads(settings.threads, elsewhere, needed))
    remotes = await connect(elsewhere, lambda name: signature(name, weights[name]), weights.__getitem__)
    return_large_blocks()  # weights are read, and laid out by the first step, in pieces that nobody wants again
    how = (device, settings.precision, remotes, bool(settings.offload))
    models = []
    for service in services:
        with loading(service.stage):
            models.append(await load(service.load, *how))
    programs = {lane: program for model in models for lane, program in model.programs.items()}
    app = ModelApp.start(settings, programs, services[0].stage, remotes)
    await own_threads(app.engine)
    for service, model in zip(services, models, strict=True):
        with loading(service.stage):
            await app.warm_up(partial(service.trial, model))
        app.services.append(service.serve(model, app.engine))
    keep_large_blocks()
    return app
