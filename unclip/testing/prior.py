"""Stub of the PriorService: candidates follow from text and seed, the best is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.serving.server import Service
from unclip.testing.drawing import draw, sampling_key, text_key
from unclip.testing.stub import Context, Stub
from unclip.wire.embeddings import Embedding
from unclip.wire.limits import MAX_CANDIDATES
from unclip.wire.tasks import SampleTask

NAME = prior_pb2.DESCRIPTOR.services_by_name["PriorService"].full_name


class StubPrior(Stub, prior_pb2_grpc.PriorServiceServicer):
    """Samples an embedding that follows from the request."""

    stage = "prior"
    capabilities = ("sample",)

    @property
    def service(self) -> Service:
        """The stub as a service of a server."""
        return Service(NAME, prior_pb2_grpc.add_PriorServiceServicer_to_server, self, version=self.model.version)

    async def Sample(
        self, request: prior_pb2.SampleRequest, context: Context
    ) -> AsyncIterator[prior_pb2.SampleResponse]:
        """Samples one image embedding, with progress."""
        with self.work(request, context, "sample", min(max(request.candidates, 1), MAX_CANDIDATES)) as work:
            task = SampleTask.from_proto(request, self.spec)
            async for progress in work.take_steps(task.sampling.steps, sampling_pb2.STAGE_PRIOR):
                if not request.omit_progress:
                    yield prior_pb2.SampleResponse(progress=progress)
        if not work.cut:
            yield prior_pb2.SampleResponse(sampled=self.sample(task))

    async def GetModelInfo(
        self, request: prior_pb2.GetModelInfoRequest, context: Context
    ) -> prior_pb2.GetModelInfoResponse:
        """Says which model is stubbed."""
        return prior_pb2.GetModelInfoResponse(model=self.info)

    def sample(self, task: SampleTask) -> prior_pb2.SampledEmbedding:
        """The candidate with the largest dot product with the text embedding."""
        guided = task.sampling.guidance_scale != 1
        causes = (
            self.model.version,
            *text_key(task.text),
            *text_key(task.unconditional_text if guided else None),
            task.seed,
            *sampling_key(task.sampling),
        )
        candidates = [draw((self.model.dim,), "prior", row, *causes) for row in range(task.candidates)]
        scores = np.stack(candidates) @ task.text.embedding.values
        best = int(scores.argmax())
        return prior_pb2.SampledEmbedding(
            embedding=Embedding(candidates[best], self.model.clip_space).to_proto(),
            score=float(scores[best]),
            candidate=best,
            model_version=self.model.version,
        )
