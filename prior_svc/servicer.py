"""The PriorService: reads requests, has the engine sample candidates, and sends the best of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np

from prior_svc.prior import Prior
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.engine.engine import Engine
from unclip.engine.follow import Tick, follow
from unclip.engine.trajectory import Trajectory
from unclip.errors import PreconditionFailed
from unclip.model_app import expected
from unclip.serving.clients import client_of
from unclip.serving.deadlines import Deadlines
from unclip.serving.request_id import part_of
from unclip.wire.embeddings import Embedding
from unclip.wire.limits import MAX_CANDIDATES
from unclip.wire.stage_reading import StageSpec
from unclip.wire.tasks import SampleTask

Context = grpc.aio.ServicerContext[Any, Any]


class PriorServicer(prior_pb2_grpc.PriorServiceServicer):
    """Serves ``prior`` through ``engine``; ``info`` is what it says of itself, ``spec`` what it takes."""

    def __init__(
        self, prior: Prior, engine: Engine, spec: StageSpec, info: model_info_pb2.ModelInfo, deadlines: Deadlines
    ) -> None:
        self._prior, self._engine, self._spec, self._info, self._deadlines = prior, engine, spec, info, deadlines

    async def Sample(
        self, request: prior_pb2.SampleRequest, context: Context
    ) -> AsyncIterator[prior_pb2.SampleResponse]:
        """Samples one image embedding, with progress."""
        deadline = self._deadlines.of(context)
        likely, rows = (
            expected("prior", request.sampling, self._spec.defaults, deadline),
            min(max(request.candidates, 1), MAX_CANDIDATES),
        )
        with self._engine.reserve(rows, client_of(context), likely, part_of=part_of(context)) as reservation:
            task = SampleTask.from_proto(request, self._spec)
            trajectories = await asyncio.wrap_future(self._engine.call(lambda: self._trajectories(task, deadline)))
            async with aclosing(follow(reservation, trajectories, not request.omit_progress)) as ticks:
                async for tick in ticks:
                    yield prior_pb2.SampleResponse(progress=progress(tick))
        candidates = np.stack([trajectory.future.result().numpy() for trajectory in trajectories])
        # The paper keeps the one with the larger dot product with the text embedding (section 2.2).
        scores = candidates @ task.text.embedding.values
        best = int(scores.argmax())
        sampled = prior_pb2.SampledEmbedding(
            embedding=Embedding(candidates[best], self._spec.clip_space).to_proto(),
            score=float(scores[best]),
            candidate=best,
            model_version=self._info.version,
        )
        yield prior_pb2.SampleResponse(sampled=sampled)

    def _trajectories(self, task: SampleTask, deadline: float) -> list[Trajectory]:
        return [self._prior.sample(task, candidate, deadline) for candidate in range(task.candidates)]

    async def GetModelInfo(
        self, request: prior_pb2.GetModelInfoRequest, context: Context
    ) -> prior_pb2.GetModelInfoResponse:
        """Says which model is loaded."""
        return prior_pb2.GetModelInfoResponse(model=self._info)


class NoPriorServicer(prior_pb2_grpc.PriorServiceServicer):
    """Stands where a checkpoint, whole as it is, has no prior; ``info`` is what it says of itself."""

    def __init__(self, info: model_info_pb2.ModelInfo) -> None:
        self._info = info

    async def Sample(
        self, request: prior_pb2.SampleRequest, context: Context
    ) -> AsyncIterator[prior_pb2.SampleResponse]:
        """Raises PreconditionFailed."""
        raise PreconditionFailed("prior", f"{self._info.name} has no prior: it cannot make pictures from captions")
        yield  # what makes this a stream

    async def GetModelInfo(
        self, request: prior_pb2.GetModelInfoRequest, context: Context
    ) -> prior_pb2.GetModelInfoResponse:
        """Says which model is loaded."""
        return prior_pb2.GetModelInfoResponse(model=self._info)


def progress(tick: Tick) -> sampling_pb2.Progress:
    """A tick as a message."""
    return sampling_pb2.Progress(
        stage=sampling_pb2.STAGE_PRIOR, step=tick.step, of=tick.of, queue_position=tick.queue_position
    )
