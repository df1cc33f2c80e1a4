"""Every error of ours survives the trip through a gRPC status; any other says nothing but the request id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from unclip import errors
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.serving.error_table import CODES, from_rpc_error, to_status
from unclip.serving.handlers import GuardedServer
from unclip.serving.interceptors import ErrorInterceptor
from unclip.serving.server import options
from unclip.serving.settings import ServerSettings

EVERY_ERROR = [
    errors.InvalidRequest(
        [errors.FieldViolation("steps", "must be 1 to 1000; got 0"), errors.FieldViolation("eta", "must be 0 to 1")]
    ),
    errors.Overloaded("80 places are taken, limit 80", 2.5),
    errors.OutOfDeviceMemory("not enough free memory"),
    errors.Unavailable("prior", "the prior is loading"),
    errors.PreconditionFailed("embedding.clip_space", "another CLIP"),
    errors.DeadlineExceeded("deadline passed after 3 of 25 steps"),
    errors.Unauthenticated("no credentials"),
    errors.PermissionDenied("not yours"),
]


class Failing(encoder_pb2_grpc.EncoderServiceServicer):
    def __init__(self) -> None:
        self.error: BaseException = RuntimeError()

    async def EncodeText(
        self, request: encoder_pb2.EncodeTextRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_pb2.EncodeTextResponse:
        raise self.error


@pytest.fixture
async def called() -> AsyncIterator[tuple[Failing, grpc.aio.Channel]]:
    servicer = Failing()  # type: ignore[abstract]
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, channel
    await server.stop(None)


async def failure(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await encoder_pb2_grpc.EncoderServiceStub(channel).EncodeText(
            encoder_pb2.EncodeTextRequest(), metadata=[("x-request-id", "req-1")]
        )
    return failed.value


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
async def test_an_error_arrives_as_it_left(called: tuple[Failing, grpc.aio.Channel], error: errors.UnclipError) -> None:
    servicer, channel = called
    servicer.error = error
    back = from_rpc_error(await failure(channel), "encoder")
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_every_error_a_call_can_raise_has_a_status() -> None:
    starting = {errors.CheckpointError, errors.ConfigurationError}
    assert set(errors.UnclipError.__subclasses__()) - starting == set(CODES)


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_every_status_names_domain_and_reason(error: errors.UnclipError) -> None:
    info = error_details_pb2.ErrorInfo()
    assert to_status(error).details[0].Unpack(info)
    assert (info.domain, info.reason) == ("unclip", error.reason)


async def test_a_bug_says_the_request_id_and_nothing_else(called: tuple[Failing, grpc.aio.Channel]) -> None:
    servicer, channel = called
    servicer.error = KeyError("secret")
    failed = await failure(channel)
    assert failed.code() == grpc.StatusCode.INTERNAL
    assert "req-1" in (failed.details() or "")
    assert "secret" not in repr(failed)
    assert ("x-request-id", "req-1") in [tuple(pair) for pair in failed.trailing_metadata()]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28"], ids=["no protobuf", "no UTF-8"])
async def test_bytes_that_are_no_message_are_the_callers_fault(
    called: tuple[Failing, grpc.aio.Channel], data: bytes
) -> None:
    call: Any = called[1].unary_unary("/unclip.api.encoder.v1.EncoderService/EncodeText")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(data)
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    back = from_rpc_error(failed.value, "encoder")
    assert isinstance(back, errors.InvalidRequest)
    assert back.violations[0].field == "request"


@pytest.mark.parametrize(
    ("limits", "request_", "metadata", "told"),
    [
        ({"server": {"grpc.max_receive_message_length": 100}}, "x" * 997, (), "must be at most 100 bytes; got 1000"),
        (
            {"server": {"grpc.max_metadata_size": 100, "grpc.absolute_max_metadata_size": 200}},
            "",
            (("a", "x" * 1000),),
            "is, or asks for, more than the encoder takes or gives in one call",
        ),
        ({"channel": {"grpc.max_send_message_length": 100}}, "x" * 997, (), "must be at most 100 bytes; got 1000"),
    ],
    ids=["message", "metadata", "message sent"],
)
async def test_what_gRPC_itself_finds_too_large_is_no_overload(
    limits: dict[str, dict[str, int]], request_: str, metadata: tuple[tuple[str, str], ...], told: str
) -> None:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=list(limits.get("server", {}).items()))
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Failing(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = list(limits.get("channel", {}).items())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await encoder_pb2_grpc.EncoderServiceStub(channel).EncodeText(
                encoder_pb2.EncodeTextRequest(captions=[request_]), metadata=metadata
            )
    await server.stop(None)
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    back = from_rpc_error(failed.value, "encoder")
    assert isinstance(back, errors.InvalidRequest)
    assert str(back) == f"request: {told}"


@pytest.mark.parametrize("guarded", [False, True])
async def test_a_request_that_is_too_large_is_told_so_and_not_tried_again(guarded: bool) -> None:
    settings = ServerSettings(max_request_bytes=1024)
    server = grpc.aio.server(interceptors=[ErrorInterceptor(settings.max_request_bytes)], options=options(settings))
    where = GuardedServer(server, []) if guarded else server
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Failing(), where)  # type: ignore[abstract, arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await encoder_pb2_grpc.EncoderServiceStub(channel).EncodeText(
                encoder_pb2.EncodeTextRequest(captions=["x" * 1022])
            )
    await server.stop(None)
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.details() == "request: must be at most 1024 bytes; got 1025"


def test_an_answer_that_is_too_large_is_told_as_such() -> None:
    told, none = "CLIENT: Received message larger than max (2000 vs. 100)", grpc.aio.Metadata()
    back = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, none, none, told), "gateway")
    assert str(back) == "request: must ask for at most 100 bytes in one answer of the gateway; got 2000"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Overloaded),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNKNOWN, errors.UnclipError),
    ],
)
def test_words_that_are_not_ours_go_no_further(code: grpc.StatusCode, kind: type[errors.UnclipError]) -> None:
    nothing = grpc.aio.Metadata()
    back = from_rpc_error(
        grpc.aio.AioRpcError(code, nothing, nothing, "Stream removed (secrets of a proxy)"), "encoder"
    )
    assert type(back) is kind
    assert "encoder" in str(back)
    assert "secret" not in str(back)


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        back = from_rpc_error(await failure(channel), "encoder")
    assert isinstance(back, errors.Unavailable)
    assert back.stage == "encoder"


def test_errors_of_start_up_are_no_callers_business() -> None:
    assert to_status(errors.CheckpointError("/secret/path"), "id").code == code_pb2.INTERNAL
    assert "/secret" not in to_status(errors.CheckpointError("/secret/path"), "id").message


def test_of_very_many_broken_rules_as_many_are_told_as_callers_can_receive() -> None:
    broken = errors.InvalidRequest(
        [errors.FieldViolation(f"captions[{row}]", "must be at most 4096 bytes") for row in range(64)]
    )
    status = to_status(broken)
    assert len(status.SerializeToString()) < 5000
    assert "captions[0]: must be at most 4096 bytes" in status.message
    told = status.message.count("captions")
    assert status.message.endswith(f"request: breaks {64 - told} more rules")
