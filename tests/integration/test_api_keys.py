"""API keys at the gateway, over sockets: who is let in, how often, how many calls at once, and what refusals say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from tests.certificates import put
from tests.integration.gateway_front import MODEL
from unclip import AsyncClient, Generate, GeneratedImage
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.errors import ConfigurationError, DeadlineExceeded, Overloaded, Unauthenticated
from unclip.serving.keys import digest, new_key, parse_keys
from unclip.testing import GatewayServer, StubStages

PLENTY = 100_000


@dataclass
class Keyed:
    """A gateway that wants keys, and its file of them."""

    file: Path
    address: str = ""
    stages: StubStages = field(default_factory=lambda: StubStages(MODEL))
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, per_minute: int = PLENTY, at_once: int = 8, **more: str) -> str:
        """A new key, in the file from now on."""
        key = new_key()
        self.entries[name] = {"sha256": digest(key), "requests_per_minute": per_minute, "concurrency": at_once, **more}
        self.write()
        return key

    def write(self) -> None:
        put(self.file, json.dumps({"keys": self.entries}).encode())

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[gateway_pb2_grpc.GatewayServiceStub]:
        """A caller without manners: no retries, no key."""
        async with grpc.aio.insecure_channel(self.address, options=[("grpc.enable_retries", 0)]) as channel:
            yield gateway_pb2_grpc.GatewayServiceStub(channel)

    async def refusal(self, *metadata: tuple[str, str], stream: bool = False) -> grpc.aio.AioRpcError:
        """What a call with ``metadata`` is refused with."""
        generate = gateway_pb2.GenerateRequest(caption="a cat")
        async with self.stub() as stub:
            call: Any = (
                stub.Stream(gateway_pb2.StreamRequest(generate=generate), metadata=metadata)
                if stream
                else stub.Generate(generate, metadata=metadata)
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await (call.read() if stream else call)
        return refused.value


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[Keyed]:
    keyed = Keyed(tmp_path / "keys.json")
    keyed.write()
    async with keyed.stages, GatewayServer(keyed.stages.addresses, api_keys=str(keyed.file)) as front:
        keyed.address = front.address
        yield keyed


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo]:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return info, retry


def refusals(key: str, reason: str) -> float:
    return REGISTRY.get_sample_value("unclip_api_key_refusals_total", {"key": key, "reason": reason}) or 0.0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("authorization", "Basic YTpi"),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer "),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer unclip_wrong"),), "CREDENTIALS_INVALID"),
    ],
)
async def test_without_a_known_key_nobody_is_let_in(
    keyed: Keyed, sent: Sequence[tuple[str, str]], reason: str, stream: bool
) -> None:
    keyed.add("alice")
    before = refusals("", reason)
    error = await keyed.refusal(*sent, stream=stream)
    info, _ = details(error)
    assert (error.code().name, info.reason, info.domain) == ("UNAUTHENTICATED", reason, "unclip")
    assert refusals("", reason) == before + 1
    assert keyed.stages.prior.asked == []


async def test_a_known_key_opens_every_method(keyed: Keyed) -> None:
    key = keyed.add("alice")
    async with AsyncClient(keyed.address, api_key=key) as client:
        assert (await client.model_info()).name == "stub"
        assert len(await client.generate("a cat", seed=1)) == 1
        events = [event async for event in client.stream(Generate("a cat", seed=1))]
        assert any(isinstance(event, GeneratedImage) for event in events)
        assert len((await client.embed(["a cat"])).captions) == 1


async def test_not_even_the_model_is_told_without_a_key(keyed: Keyed) -> None:
    async with AsyncClient(keyed.address) as client:
        with pytest.raises(Unauthenticated, match="an API key is needed"):
            await client.model_info()


async def test_a_message_is_not_even_parsed_without_a_key(keyed: Keyed) -> None:
    async with grpc.aio.insecure_channel(keyed.address) as channel:
        ask: Any = channel.unary_unary("/unclip.api.gateway.v1.GatewayService/Generate")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(b"\xff\xff\xff")
        assert refused.value.code().name == "UNAUTHENTICATED"


async def test_a_large_message_is_not_even_read_without_a_key(keyed: Keyed) -> None:
    options = [("grpc.max_send_message_length", 64 << 20), ("grpc.enable_retries", 0)]
    shown = (("authorization", f"Bearer {keyed.add('alice')}"),)
    async with grpc.aio.insecure_channel(keyed.address, options=options) as channel:
        ask: Any = channel.unary_unary("/unclip.api.gateway.v1.GatewayService/Vary")

        async def code(size: int, metadata: Sequence[tuple[str, str]] = ()) -> str:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(b"\0" * size, metadata=metadata)
            return refused.value.code().name

        # Over what gRPC's core takes: only who reads it can tell.
        assert [await code(33 << 20), await code(33 << 20, shown)] == ["UNAUTHENTICATED", "RESOURCE_EXHAUSTED"]
        assert await code(25 << 20, shown) == "INVALID_ARGUMENT"
        assert {await code(11 << 20) for _ in range(20)} == {"UNAUTHENTICATED"}


async def test_health_needs_no_key(keyed: Keyed) -> None:
    async with grpc.aio.insecure_channel(keyed.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


async def test_beyond_its_rate_a_key_is_told_when_to_come_back_and_others_are_served(keyed: Keyed) -> None:
    slow, other = keyed.add("slow", per_minute=2), keyed.add("other")
    async with AsyncClient(keyed.address, api_key=slow) as client:
        for _ in range(2):
            await client.model_info()
    error = await keyed.refusal(("authorization", f"Bearer {slow}"))
    info, retry = details(error)
    assert (error.code().name, info.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert error.details() == "key slow: over its rate, limit 2 a minute"
    assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 30  # two a minute: one every 30 s
    assert refusals("slow", "RATE_LIMITED") == 1
    async with AsyncClient(keyed.address, api_key=other) as client:
        assert await client.generate("a cat", seed=1)


async def test_retries_do_not_ask_again_and_again_where_a_rate_says_later(keyed: Keyed) -> None:
    key = keyed.add("impatient", per_minute=1)
    async with AsyncClient(keyed.address, api_key=key) as client:
        await client.model_info()
        with pytest.raises(Overloaded) as refused:
            await client.model_info()
    assert (refused.value.reason, 2 < refused.value.retry_after <= 60) == ("RATE_LIMITED", True)
    assert refusals("impatient", "RATE_LIMITED") == 1


async def test_retries_wait_as_long_as_a_rate_wants_where_that_is_soon(keyed: Keyed) -> None:
    key = keyed.add("brisk", per_minute=60)
    async with AsyncClient(keyed.address, api_key=key) as client:
        for _ in range(61):
            await client.model_info()
    assert refusals("brisk", "RATE_LIMITED") <= 1  # none where a minute's worth took longer than the next one


async def test_only_so_many_calls_of_a_key_run_at_once(keyed: Keyed) -> None:
    key = keyed.add("narrow", at_once=1)
    sent = ("authorization", f"Bearer {key}")
    keyed.stages.prior.faults.hang = True
    async with AsyncClient(keyed.address, api_key=key) as client:
        async with contextlib.aclosing(client.stream(Generate("a cat", seed=1))) as running:
            await anext(running)
            for stream in (False, True):
                error = await keyed.refusal(sent, stream=stream)
                info, retry = details(error)
                assert (error.code().name, info.reason) == ("RESOURCE_EXHAUSTED", "CONCURRENCY_LIMITED")
                assert retry.retry_delay.ToTimedelta().total_seconds() == 1
        keyed.stages.prior.faults.hang = False
        for _ in range(100):  # the gateway hears of a caller that left a moment later
            with contextlib.suppress(Overloaded):
                assert (await client.model_info()).name == "stub"
                return
            await asyncio.sleep(0.05)
    raise AssertionError("a call that was cancelled kept its place")


async def test_a_guarded_call_whose_caller_leaves_ends_like_any_other(keyed: Keyed) -> None:
    keyed.stages.prior.faults.hang = True
    async with AsyncClient(keyed.address, api_key=keyed.add("alice"), timeout=20) as client:
        calling = asyncio.ensure_future(client.generate("a cat", seed=1))
        while not keyed.stages.prior.running:  # noqa: ASYNC110 (a stub tells nobody)
            await asyncio.sleep(0.01)
        calling.cancel()
        while keyed.stages.prior.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with AsyncClient(keyed.address, api_key=keyed.add("bob"), timeout=0.5) as client:
        with pytest.raises(DeadlineExceeded):
            await client.generate("a cat", seed=1)
        while keyed.stages.prior.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_key_that_has_expired_is_told_so(keyed: Keyed) -> None:
    key = keyed.add("old", expires="2020-01-01T00:00:00Z")
    info, _ = details(await keyed.refusal(("authorization", f"Bearer {key}")))
    assert info.reason == "CREDENTIALS_EXPIRED"
    keyed.add("old2", expires="2999-01-01T00:00:00+00:00")


async def test_the_file_is_read_again_when_it_changes_and_kept_when_it_breaks(keyed: Keyed) -> None:
    first = keyed.add("first")
    async with AsyncClient(keyed.address, api_key=first) as client:
        assert await client.model_info()
        put(keyed.file, b"{ not")
        assert await client.model_info()
        keyed.file.unlink()
        assert await client.model_info()
        del keyed.entries["first"]
        second = keyed.add("second")
        with pytest.raises(Unauthenticated, match="not known"):
            await client.model_info()
    async with AsyncClient(keyed.address, api_key=second) as client:
        assert await client.model_info()


async def test_the_log_names_the_key_by_its_id(keyed: Keyed, caplog: pytest.LogCaptureFixture) -> None:
    key = keyed.add("alice")
    with caplog.at_level(logging.DEBUG):
        async with AsyncClient(keyed.address, api_key=key) as client:
            await client.generate("a cat", seed=1)
            [picture] = [e async for e in client.stream(Generate("a cat", seed=1)) if isinstance(e, GeneratedImage)]
            assert picture
    ended = [vars(record) for record in caplog.records if record.name == "unclip.calls"]
    of_gateway = [call for call in ended if "gateway" in call["method"]]
    assert [(call["client"], call["code"]) for call in of_gateway] == [("alice", "OK")] * 2
    assert not any(key in record.getMessage() for record in caplog.records)


async def test_stages_know_the_key_whatever_its_holder_calls_itself(keyed: Keyed) -> None:
    key = keyed.add("alice")
    async with AsyncClient(keyed.address, api_key=key, metadata=[("x-unclip-client", "bob")]) as client:
        await client.generate("a cat", seed=1)
    asked = [asked for stub in keyed.stages.stubs.values() for asked in stub.asked]
    assert {call.metadata["x-unclip-client"] for call in asked} == {"alice"}
    assert not any("authorization" in call.metadata or key in str(call.metadata) for call in asked)


ENTRY = f'sha256 = "{"0" * 64}"\nrequests_per_minute = 60\nconcurrency = 4\n'


def test_toml_and_json_say_the_same() -> None:
    [key] = parse_keys([f"[keys.alice]\n{ENTRY}expires = 2027-01-01T00:00:00Z".encode()])
    entry = {"sha256": "0" * 64, "requests_per_minute": 60, "concurrency": 4, "expires": "2027-01-01T01:00:00+01:00"}
    assert parse_keys([json.dumps({"keys": {"alice": entry}}).encode()]) == (key,)
    assert (key.id, key.requests_per_minute, key.concurrency, key.expires) == ("alice", 60, 4, 1798761600)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[keys", "TOML or JSON"),
        ("\xff", "one table|TOML or JSON"),
        ("[key.a]", "one table"),
        ("keys = 3", "one table"),
        (f'[keys."a b"]\n{ENTRY}', "key 'a b': an id"),
        ("[keys.a]\nsha256 = 'x'", "key 'a': must have"),
        (f"[keys.a]\n{ENTRY}burst = 3", "key 'a': must have"),
        ("[keys.a]\n" + ENTRY.replace("0" * 64, "A" * 64), "sha256 must be 64"),
        ("[keys.a]\n" + ENTRY.replace("60", "0"), "requests_per_minute must be 1 to 1000000; got 0"),
        ("[keys.a]\n" + ENTRY.replace("4", "true"), "concurrency must be 1 to 10000; got True"),
        (f"[keys.a]\n{ENTRY}expires = 2027-01-01", "expires must be a time with its zone"),
        (f"[keys.a]\n{ENTRY}[keys.b]\n{ENTRY}", "same sha256"),
    ],
)
def test_a_file_of_keys_that_makes_no_sense_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_keys([text.encode()])
