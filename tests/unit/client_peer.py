"""A gateway for the tests of the client and the command line: a real socket, small pictures, and faults to order.

It speaks the contracts with generated messages only, so that a mistake of the client's own conversions shows.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.type.v1 import embedding_pb2, image_pb2, model_info_pb2, notice_pb2, sampling_pb2, tensor_pb2

SIDE = 16
STEPS = 3
CHOSEN_SEED = 41


def picture(seed: int, side: int = SIDE) -> bytes:
    """A PNG in one colour that follows from ``seed``."""
    colour = hashlib.sha256(str(seed).encode()).digest()[:3]
    file = io.BytesIO()
    Image.new("RGB", (side, side), tuple(colour)).save(file, "PNG")
    return file.getvalue()


def invalid(*violations: tuple[str, str]) -> status_pb2.Status:
    """INVALID_ARGUMENT as the services answer it."""
    bad = [
        error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
        for field, description in violations
    ]
    return status(
        code_pb2.INVALID_ARGUMENT, "INVALID_REQUEST", "invalid", error_details_pb2.BadRequest(field_violations=bad)
    )


def overloaded(seconds: int) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED as the services answer it."""
    delay = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds))
    return status(code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED", "the queue is full", delay)


def status(code: int, reason: str, text: str, *details: Message) -> status_pb2.Status:
    """A rich status with ErrorInfo and ``details``."""
    packed = []
    for detail in (error_details_pb2.ErrorInfo(domain="unclip", reason=reason), *details):
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return status_pb2.Status(code=code, message=text, details=packed)


class GatewayPeer(gateway_pb2_grpc.GatewayServiceServicer):
    """Answers from the seed, remembers what it was asked.

    fails: the status of every answer. fails_after: of a stream, after its first picture. hangs: streams never end
    by themselves. notices: of every answer. vocabulary: what the model was taught, None where it does not say. ``left``
    is set once a stream is over.
    """

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.fails: status_pb2.Status | None = None
        self.fails_after: status_pb2.Status | None = None
        self.hangs = False
        self.notices: list[notice_pb2.Notice] = []
        self.vocabulary: model_info_pb2.Vocabulary | None = None
        self.left = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def streamed(self) -> gateway_pb2.StreamRequest:
        """The only thing that it was asked, which is to make pictures."""
        [asked] = self.asked
        assert isinstance(asked, gateway_pb2.StreamRequest)
        return asked

    def start(self) -> None:
        """Listens."""
        self._server.start()

    def stop(self) -> None:
        """Leaves at once."""
        self._server.stop(None).wait()

    def Generate(self, request: gateway_pb2.GenerateRequest, context: Any) -> gateway_pb2.GenerateResponse:
        self._note(request, context)
        images = self._images(gateway_pb2.StreamRequest(generate=request))
        return gateway_pb2.GenerateResponse(images=images, notices=self.notices)

    def Vary(self, request: gateway_pb2.VaryRequest, context: Any) -> gateway_pb2.VaryResponse:
        self._note(request, context)
        return gateway_pb2.VaryResponse(images=self._images(gateway_pb2.StreamRequest(vary=request)))

    def TextDiff(self, request: gateway_pb2.TextDiffRequest, context: Any) -> gateway_pb2.TextDiffResponse:
        self._note(request, context)
        return gateway_pb2.TextDiffResponse(images=self._images(gateway_pb2.StreamRequest(text_diff=request)))

    def Interpolate(self, request: gateway_pb2.InterpolateRequest, context: Any) -> gateway_pb2.InterpolateResponse:
        self._note(request, context)
        return gateway_pb2.InterpolateResponse(images=self._images(gateway_pb2.StreamRequest(interpolate=request)))

    def Edit(self, request: gateway_pb2.EditRequest, context: Any) -> gateway_pb2.EditResponse:
        self._note(request, context)
        return gateway_pb2.EditResponse(images=self._images(gateway_pb2.StreamRequest(edit=request)))

    def Stream(self, request: gateway_pb2.StreamRequest, context: Any) -> Iterator[gateway_pb2.StreamResponse]:
        self._note(request, context)
        context.add_callback(self.left.set)
        for notice in self.notices:
            told = gateway_pb2.StreamResponse(notice=notice)
            told.notice.field = f"{request.WhichOneof('request')}.{notice.field}"
            yield told
        for index, image in reversed(list(enumerate(self._images(request)))):  # in whatever order they get done
            for step in range(1, STEPS + 1):
                progress = sampling_pb2.Progress(
                    stage=sampling_pb2.STAGE_DECODER, step=step, of=STEPS, image_index=index
                )
                yield gateway_pb2.StreamResponse(progress=progress)
            if request.preview_interval:
                small = image_pb2.Image(data=picture(0, 4), media_type="image/png", width=4, height=4)
                yield gateway_pb2.StreamResponse(preview=gateway_pb2.Preview(image=small, image_index=index))
            yield gateway_pb2.StreamResponse(image=image)
            if self.fails_after is not None:
                context.abort_with_status(rpc_status.to_status(self.fails_after))
            while self.hangs:
                time.sleep(0.01)
                if not context.is_active():
                    return

    def Embed(self, request: gateway_pb2.EmbedRequest, context: Any) -> gateway_pb2.EmbedResponse:
        self._note(request, context)
        return gateway_pb2.EmbedResponse(
            captions=[embedding(caption.encode()) for caption in request.captions],
            images=[embedding(image.data) for image in request.images],
            notices=self.notices,
        )

    def GetModelInfo(self, request: gateway_pb2.GetModelInfoRequest, context: Any) -> gateway_pb2.GetModelInfoResponse:
        self._note(request, context)
        defaults = sampling_pb2.SamplingOptions(
            sampler=sampling_pb2.SAMPLER_DPMPP_2M, steps=20, guidance_scale=3.5, eta=0
        )
        return gateway_pb2.GetModelInfoResponse(
            model=model_info_pb2.ModelInfo(
                name="peer",
                version="v1",
                license="MIT",
                clip_space="clip",
                device="cpu",
                capabilities=["generate", "vary", "text_diff", "embed"],
                stages=[
                    model_info_pb2.StageInfo(
                        stage=sampling_pb2.STAGE_DECODER, defaults=defaults, image_size=SIDE, parameters=1234567
                    )
                ],
                caption_template="a photo of {}",
                captions=self.vocabulary.captions if self.vocabulary else [],
                vocabulary=self.vocabulary if request.vocabulary else None,
            )
        )

    def _note(self, request: Message, context: Any) -> None:
        """Remembers a call, and fails it when told to."""
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.fails is not None:
            context.abort_with_status(rpc_status.to_status(self.fails))

    def _images(self, request: gateway_pb2.StreamRequest) -> list[gateway_pb2.GeneratedImage]:
        """The pictures of ``request``, each with the recipe that makes it alone."""
        asked = inner(request)
        first = asked.seed if asked.HasField("seed") else CHOSEN_SEED
        match asked:
            case gateway_pb2.TextDiffRequest():
                count = len(asked.thetas) or 1
            case gateway_pb2.InterpolateRequest():
                count = len(asked.ts) or 1
            case _:
                count = asked.image_count or 1
        images = []
        for index in range(count):
            recipe = gateway_pb2.StreamRequest()
            recipe.CopyFrom(request)
            recipe.ClearField("preview_interval")
            alone = inner(recipe)
            alone.seed = first + index
            if not isinstance(alone, gateway_pb2.GenerateRequest):
                alone.ClearField("image")
            if isinstance(alone, gateway_pb2.EditRequest):
                alone.ClearField("mask")
            if isinstance(alone, gateway_pb2.InterpolateRequest):
                alone.ClearField("to_image")
            elif not isinstance(alone, gateway_pb2.TextDiffRequest):
                alone.image_count = 1
            file = image_pb2.Image(data=picture(first + index), media_type="image/png", width=SIDE, height=SIDE)
            images.append(
                gateway_pb2.GeneratedImage(
                    image=file, image_index=index, seed=first + index, model_version="v1", recipe=recipe
                )
            )
            if not isinstance(asked, (gateway_pb2.GenerateRequest, gateway_pb2.EditRequest)) and asked.report_psnr:
                images[-1].inversion_psnr = 31.5
        return images


def inner(
    request: gateway_pb2.StreamRequest,
) -> (
    gateway_pb2.GenerateRequest
    | gateway_pb2.VaryRequest
    | gateway_pb2.TextDiffRequest
    | gateway_pb2.InterpolateRequest
    | gateway_pb2.EditRequest
):
    """The request inside ``request``."""
    match request.WhichOneof("request"):
        case "vary":
            return request.vary
        case "text_diff":
            return request.text_diff
        case "interpolate":
            return request.interpolate
        case "edit":
            return request.edit
    return request.generate


def printed_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command has printed with ``--json``."""
    return json.loads(capsys.readouterr().out)


def embedding(cause: bytes) -> embedding_pb2.Embedding:
    """A float32 ``[4]`` that follows from ``cause``."""
    seed = int.from_bytes(hashlib.sha256(cause).digest()[:4], "little")
    values = np.random.default_rng(seed).standard_normal(4).astype("<f4")
    tensor = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=[4], data=values.tobytes())
    return embedding_pb2.Embedding(values=tensor, clip_space="clip")
