"""The four stages on one port, stubbed or real, and called alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args
from unittest.mock import patch

import grpc
import numpy as np
import numpy.typing as npt

from tests.contract.toys import MODEL, Toy
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import embedding_pb2, model_info_pb2, sampling_pb2, tensor_pb2
from unclip.serving.server import App, Service
from unclip.testing import Faults, StubModel, StubStages
from unclip.testing.model import STAGES
from unclip.testing.stack import start_server

Method = Literal["encode_text", "encode_image", "sample", "decode", "invert", "upsample"]
METHODS: tuple[Method, ...] = get_args(Method)
WALKS: tuple[Method, ...] = ("sample", "decode", "invert", "upsample")
PATHS: dict[Method, str] = {
    "encode_text": "/unclip.api.encoder.v1.EncoderService/EncodeText",
    "encode_image": "/unclip.api.encoder.v1.EncoderService/EncodeImage",
    "sample": "/unclip.api.prior.v1.PriorService/Sample",
    "decode": "/unclip.api.decoder.v1.DecoderService/Decode",
    "invert": "/unclip.api.decoder.v1.DecoderService/Invert",
    "upsample": "/unclip.api.decoder.v1.UpsamplerService/Upsample",
}
RESULTS: dict[Method, str] = {
    "sample": "sampled",
    "decode": "sample",
    "invert": "start_noise",
    "upsample": "sample",
}
LONG_S = 290.0  # for walks of a thousand steps to be let in beside each other, on a busy machine too
SAME, OTHER = 1e-5, 1e-4  # the tiny prior hardly heeds its noise

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Bounds:
    """How much a service takes on. step_seconds: what a step takes at least."""

    capacity: int = 16
    queue_limit: int = 512
    max_deadline: float = 300.0
    step_seconds: float = 0.0


@contextmanager
def slowed(seconds: float) -> Iterator[None]:
    """Has real walks take ``seconds`` a step, on machines of any speed."""
    from unclip.engine.trajectory import Trajectory, TrajectoryProgram

    swift = TrajectoryProgram.tick

    def tick(program: TrajectoryProgram, walks: Sequence[Trajectory]) -> None:
        time.sleep(seconds)
        swift(program, walks)

    with patch.object(TrajectoryProgram, "tick", tick) if seconds else nullcontext():
        yield


class Host:
    """Serves all four stages on one port; ``address`` says where."""

    def __init__(self, bounds: Bounds, checkpoint: Path | None, model: StubModel = MODEL) -> None:
        """``checkpoint``: of the real services; None serves the stubs of ``model``."""
        self._bounds, self._model = bounds, model
        self._checkpoint = checkpoint
        self._exits = AsyncExitStack()
        self.address = ""

    async def start(self) -> None:
        services = self._stubs() if self._checkpoint is None else await self._real(str(self._checkpoint))
        server, self.address = await start_server(services)
        self._exits.push_async_callback(server.stop, None)

    async def stop(self) -> None:
        await self._exits.aclose()

    def _stubs(self) -> list[Service]:
        bounds = self._bounds
        faults = {
            stage: replace(
                Faults.none(stage),
                capacity=bounds.capacity,
                queue_limit=bounds.queue_limit,
                step_seconds=bounds.step_seconds,
            )
            for stage in STAGES
        }
        stages = StubStages(self._model, faults, max_deadline=bounds.max_deadline)
        return [stub.service for stub in stages.stubs.values()]

    async def _real(self, checkpoint: str) -> list[Service]:
        from decoder_svc import app as decoder  # here: what runs against stubs alone needs no torch
        from decoder_svc.settings import Settings as DecoderSettings
        from encoder_svc import app as encoder
        from encoder_svc.settings import Settings as EncoderSettings
        from prior_svc import app as prior
        from prior_svc.settings import Settings as PriorSettings

        self._exits.enter_context(slowed(self._bounds.step_seconds))
        room: dict[str, Any] = {
            "checkpoint": checkpoint,
            "device": "cpu",
            "threads": 1,
            "queue_limit": self._bounds.queue_limit,
            "max_deadline": self._bounds.max_deadline,
        }
        apps: list[App] = [
            await encoder.build(EncoderSettings(**room)),
            await prior.build(PriorSettings(**room, capacity=self._bounds.capacity)),
            await decoder.build(DecoderSettings(**room, capacity=self._bounds.capacity)),
        ]
        for app in apps:
            self._exits.push_async_callback(app.close)
        return [service for app in apps for service in app.services]


class Services:
    """The stages of a `Host`, called from a thread."""

    def __init__(self, address: str, toy: Toy) -> None:
        self.address, self.toy = address, toy
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_send_message_length", 32 << 20)])
        self.encoder = encoder_pb2_grpc.EncoderServiceStub(self.channel)
        self.prior = prior_pb2_grpc.PriorServiceStub(self.channel)
        self.decoder = decoder_pb2_grpc.DecoderServiceStub(self.channel)
        self.upsampler = upsampler_pb2_grpc.UpsamplerServiceStub(self.channel)
        self._calls: dict[Method, Any] = {
            "encode_text": self.encoder.EncodeText,
            "encode_image": self.encoder.EncodeImage,
            "sample": self.prior.Sample,
            "decode": self.decoder.Decode,
            "invert": self.decoder.Invert,
            "upsample": self.upsampler.Upsample,
        }
        self._texts: dict[str, embedding_pb2.TextEncoding] = {}

    def close(self) -> None:
        self.channel.close()

    def begin(self, method: Method, request: Any, timeout: float | None = LONG_S, **options: Any) -> Any:
        """Starts a call of a streaming method; it is an iterator over its answers."""
        return self._calls[method](request, timeout=timeout, **options)

    def ask(self, method: Method, request: Any, timeout: float | None = LONG_S) -> list[Any]:
        """All answers to a call; one for a unary method."""
        if method in WALKS:
            return list(self.begin(method, request, timeout))
        return [self._calls[method](request, timeout=timeout)]

    def send_bytes(self, method: Method, data: bytes) -> None:
        """Sends ``data`` where a message belongs."""
        call: Any = self.channel.unary_stream if method in WALKS else self.channel.unary_unary
        answer = call(PATHS[method])(data, timeout=LONG_S)
        if method in WALKS:
            list(answer)

    def result(self, method: Method, request: Any) -> Array:
        """What a walk comes to."""
        last = getattr(self.ask(method, request)[-1], RESULTS[method])
        return array(last.embedding.values if method == "sample" else last)

    def text(self, caption: str) -> embedding_pb2.TextEncoding:
        """The encoding of a caption, by these services' own encoder."""
        if caption not in self._texts:
            answer = self.encoder.EncodeText(encoder_pb2.EncodeTextRequest(captions=[caption]), timeout=LONG_S)
            self._texts[caption] = answer.encodings[0]
        return self._texts[caption]

    def infos(self) -> Iterator[tuple[sampling_pb2.Stage.ValueType, model_info_pb2.ModelInfo]]:
        """What each stage says of its model."""
        yield sampling_pb2.STAGE_ENCODER, self.encoder.GetModelInfo(encoder_pb2.GetModelInfoRequest()).model
        yield sampling_pb2.STAGE_PRIOR, self.prior.GetModelInfo(prior_pb2.GetModelInfoRequest()).model
        yield sampling_pb2.STAGE_DECODER, self.decoder.GetModelInfo(decoder_pb2.GetModelInfoRequest()).model
        upsampler = upsampler_pb2.UpsamplerServiceGetModelInfoRequest()
        yield sampling_pb2.STAGE_UPSAMPLER, self.upsampler.GetModelInfo(upsampler).model


def kind(values: Array) -> tuple[str, tuple[int, ...]]:
    """Element type and shape."""
    return values.dtype.name, values.shape


def gap(one: Array, other: Array) -> float:
    """The largest difference between two arrays: below `SAME` they are equal, above `OTHER` they are not."""
    return float(np.abs(one - other).max())


def array(tensor: tensor_pb2.Tensor) -> Array:
    """The values of a tensor, read without the project's own conversion."""
    kinds = {tensor_pb2.DATA_TYPE_FLOAT32: "<f4", tensor_pb2.DATA_TYPE_BOOL: "?"}
    return np.frombuffer(tensor.data, kinds[tensor.data_type]).reshape(tuple(tensor.shape))
