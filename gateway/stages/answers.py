"""What the stages answer, read: the last message of a stream, samples, and how far a stage is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import numpy as np

from gateway.events import Reporter
from gateway.stages.calls import BrokenOff
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import sampling_pb2, tensor_pb2
from unclip.enum_names import StageName
from unclip.errors import InvalidRequest
from unclip.options import ServiceName
from unclip.wire import tensors
from unclip.wire.stage_reading import Float32Array

PIXELS, LATENTS = range(3, 4), range(1, 65)  # channels of a sample

Answer = TypeVar(
    "Answer",
    prior_pb2.SampleResponse,
    decoder_pb2.DecodeResponse,
    decoder_pb2.InvertResponse,
    upsampler_pb2.UpsampleResponse,
)
Final = TypeVar("Final")


class StageProgress:
    """Reports how far one stage is; when it runs again after a failure, only what is new."""

    def __init__(self, reporter: Reporter, stage: StageName) -> None:
        self._reporter = reporter
        self._stage: StageName = stage
        self._furthest = 0

    def report(self, progress: sampling_pb2.Progress) -> None:
        """Passes ``progress`` on unless as much was reported before; places in the queue are reported each time."""
        if progress.step > self._furthest or self._furthest == 0:
            self._furthest = progress.step
            self._reporter.progress(self._stage, progress.step, progress.of, progress.queue_position)


async def final(stream: grpc.aio.UnaryStreamCall[Any, Answer], take: Callable[[Answer], Final | None]) -> Final:
    """Reads ``stream`` to its end; the result is what ``take`` makes of the last message, None of those before.

    Raises:
        BrokenOff: the stream ended without a last message.
        grpc.aio.AioRpcError: it failed before that message.
    """
    result: Final | None = None
    try:
        async for answer in stream:
            result = take(answer)
    except grpc.aio.AioRpcError:
        if result is None:
            raise
    finally:
        stream.cancel()
    if result is None:
        raise BrokenOff
    return result


def sample_from(tensor: tensor_pb2.Tensor, field: str, channels: range = LATENTS) -> Float32Array:
    """The float32 ``[C, H, W]`` in ``tensor``, C of ``channels``. Raises InvalidRequest when it is anything else."""
    found = tensors.from_proto(tensor, field, dtype=np.float32, shape=[None, None, None])
    if len(found) not in channels:
        limits = f"{channels[0]} to {channels[-1]}"
        raise InvalidRequest.of(f"{field}.shape", f"must have {limits} channels; got {list(found.shape)}")
    return found


def require_count(answers: list[Final], expected: int, stage: ServiceName) -> list[Final]:
    """``answers`` when there are ``expected`` of them; a RuntimeError otherwise."""
    if len(answers) != expected:
        raise RuntimeError(f"the {stage} sent {len(answers)} answers to {expected} questions")
    return answers
