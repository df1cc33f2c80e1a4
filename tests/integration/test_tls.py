"""TLS and mTLS over real sockets: who is refused, who is served, and what a rotation costs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.app import build
from gateway.settings import Settings
from tests.certificates import Authority, Files, presented, put
from tests.integration.gateway_front import MODEL
from unclip import AsyncClient, Client, Generate, GeneratedImage, Tls
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.errors import ConfigurationError, PermissionDenied
from unclip.serving.channels import open_channel
from unclip.serving.error_table import from_rpc_error
from unclip.serving.handlers import Context
from unclip.serving.settings import ServerSettings
from unclip.testing import GatewayServer, StubEncoder, StubStages
from unclip.testing.blocking import LoopThread
from unclip.testing.stack import start_server

GATEWAY = "spiffe://unclip/gateway"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@dataclass
class Encoder:
    """A stub of the encoder that wants certificates, and whose list of identities may be edited."""

    authority: Authority
    server: Files
    allowed: Path
    address: str = ""
    callers: list[int] = field(default_factory=list)  # serial number of each call's certificate

    @contextmanager
    def admit(self, context: Context) -> Iterator[None]:
        [certificate] = context.auth_context()["x509_pem_cert"]
        self.callers.append(x509.load_pem_x509_certificate(certificate).serial_number)
        yield

    def allow(self, *names: str) -> None:
        put(self.allowed, "\n".join(["# who may call", *names, ""]).encode())

    async def ask(self, tls: Tls | None, channel: grpc.aio.Channel | None = None) -> str:
        """ "served", or the status that a caller with ``tls`` gets."""
        opened = channel or open_channel(self.address, tls=tls)
        stub = encoder_pb2_grpc.EncoderServiceStub(opened)
        try:
            await stub.GetModelInfo(encoder_pb2.GetModelInfoRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            self.error = error
            return error.code().name
        finally:
            if channel is None:
                await opened.close()
        return "served"


@pytest.fixture
async def encoder(authority: Authority, tmp_path: Path) -> AsyncIterator[Encoder]:
    files = authority.issue("encoder")
    encoder = Encoder(authority, files, tmp_path / "allowed")
    encoder.allow(GATEWAY)
    settings = ServerSettings(
        tls_cert=str(files.cert),
        tls_key=str(files.key),
        tls_ca=str(authority.ca),
        allowed_identities="by-name",
        allowed_identities_file=str(encoder.allowed),
    )
    service = replace(StubEncoder(MODEL).service, guards=[encoder])
    server, encoder.address = await start_server([service], 0, settings, "encoder")
    yield encoder
    await server.stop(None)


def caller(authority: Authority, files: Files | None, ca: Path | None = None) -> Tls:
    own = (str(files.cert), str(files.key)) if files else ("", "")
    return Tls(str(ca or authority.ca), *own)


async def test_only_the_right_certificates_get_a_connection(encoder: Encoder, tmp_path: Path) -> None:
    authority, other = encoder.authority, Authority(tmp_path, "other")
    mine = authority.issue("mine", GATEWAY)
    assert await encoder.ask(caller(authority, mine)) == "served"
    assert await encoder.ask(None) == "UNAVAILABLE"  # plaintext
    assert await encoder.ask(caller(authority, None)) == "UNAVAILABLE"  # no certificate of its own
    assert await encoder.ask(caller(authority, other.issue("forged", GATEWAY))) == "UNAVAILABLE"
    assert await encoder.ask(caller(authority, mine, ca=other.ca)) == "UNAVAILABLE"  # it does not trust the server
    assert encoder.callers == [mine.serial]


async def test_a_server_must_bear_the_name_it_is_called_by(encoder: Encoder) -> None:
    mine = encoder.authority.issue("mine", GATEWAY)
    tls = caller(encoder.authority, mine)
    assert await encoder.ask(replace(tls, server_name="elsewhere.example")) == "UNAVAILABLE"
    assert await encoder.ask(replace(tls, server_name="localhost")) == "served"


async def test_an_identity_that_is_not_on_the_list_is_told_so(encoder: Encoder) -> None:
    stranger = encoder.authority.issue("stranger", "spiffe://unclip/prior", hosts=False)
    assert await encoder.ask(caller(encoder.authority, stranger)) == "PERMISSION_DENIED"
    refused = from_rpc_error(encoder.error, "encoder")
    assert isinstance(refused, PermissionDenied)
    assert str(refused) == "spiffe://unclip/prior may not call the encoder"
    assert encoder.callers == []


async def test_a_common_name_counts_only_where_there_is_no_other(encoder: Encoder) -> None:
    bare = encoder.authority.issue("by-name", hosts=False)
    assert await encoder.ask(caller(encoder.authority, bare)) == "served"
    claimed = encoder.authority.issue("by-name", "spiffe://unclip/prior", hosts=False)
    assert await encoder.ask(caller(encoder.authority, claimed)) == "PERMISSION_DENIED"


async def test_a_revoked_identity_is_refused_at_its_next_call(encoder: Encoder) -> None:
    channel = open_channel(encoder.address, tls=caller(encoder.authority, encoder.authority.issue("mine", GATEWAY)))
    assert await encoder.ask(None, channel) == "served"
    encoder.allow("spiffe://unclip/other")
    assert await encoder.ask(None, channel) == "PERMISSION_DENIED"
    encoder.allow("spiffe://unclip/other", GATEWAY)
    assert await encoder.ask(None, channel) == "served"
    encoder.allowed.unlink()  # a list that is away for a moment is not an empty list
    assert await encoder.ask(None, channel) == "served"
    await channel.close()


async def test_health_is_told_to_identities_that_may_not_call(encoder: Encoder) -> None:
    tls = caller(encoder.authority, encoder.authority.issue("prober", "spiffe://unclip/prober"))
    channel = open_channel(encoder.address, tls=tls)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await channel.close()


async def test_a_half_written_certificate_changes_nothing(encoder: Encoder) -> None:
    before, mine = encoder.server.serial, caller(encoder.authority, encoder.authority.issue("mine", GATEWAY))
    whole = (encoder.server.cert.read_bytes(), encoder.server.key.read_bytes())
    after = encoder.authority.issue("encoder")
    fresh = (after.cert.read_bytes(), after.key.read_bytes())
    put(after.cert, whole[0])  # the new key with the old certificate
    assert await asyncio.to_thread(presented, encoder.address, encoder.authority) == before
    put(after.cert, fresh[0][:100])
    assert await asyncio.to_thread(presented, encoder.address, encoder.authority) == before
    assert await encoder.ask(mine) == "served"
    put(after.cert, fresh[0])
    assert await asyncio.to_thread(presented, encoder.address, encoder.authority) == after.serial != before


async def test_files_behind_a_link_that_turns_as_in_kubernetes_are_seen(authority: Authority, tmp_path: Path) -> None:
    serials = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = authority.issue("server")
        serials.append(files.serial)
        files.cert.rename(tmp_path / name / "tls.crt")
        files.key.rename(tmp_path / name / "tls.key")
    link = tmp_path / "..data"
    link.symlink_to("one")
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    settings = ServerSettings(tls_cert=str(tmp_path / "tls.crt"), tls_key=str(tmp_path / "tls.key"))
    server, address = await start_server([StubEncoder(MODEL).service], 0, settings)
    seen = [await asyncio.to_thread(presented, address, authority)]
    (tmp_path / "turned").symlink_to("two")
    (tmp_path / "turned").replace(link)
    seen.append(await asyncio.to_thread(presented, address, authority))
    await server.stop(None)
    assert seen == serials


async def test_certificates_rotate_on_every_hop_under_load_and_no_call_fails(
    authority: Authority, tmp_path: Path
) -> None:
    def issued() -> list[Files]:
        return [authority.issue("stage"), authority.issue("gateway", GATEWAY), authority.issue("user", "urn:user")]

    stage, gateway, user = issued()
    stages = StubStages(
        MODEL,
        settings=ServerSettings(
            tls_cert=str(stage.cert), tls_key=str(stage.key), tls_ca=str(authority.ca), allowed_identities=GATEWAY
        ),
    )
    more: Any = {
        "tls_cert": str(gateway.cert),
        "tls_key": str(gateway.key),
        "tls_ca": str(authority.ca),
        "allowed_identities": "urn:user",
        "stage_tls_ca": str(authority.ca),
        "stage_tls_cert": str(gateway.cert),
        "stage_tls_key": str(gateway.key),
    }
    tls = caller(authority, user)
    async with stages, GatewayServer(stages.addresses, **more) as front, AsyncClient(front.address, tls=tls) as client:
        stages.decoder.faults.step_seconds = 0.02
        stopped, done = asyncio.Event(), 0

        async def load(number: int) -> None:
            nonlocal done
            while not stopped.is_set():
                [image] = await client.generate("a cat", seed=number)
                done += image.seed == number

        async with contextlib.aclosing(client.stream(Generate("a dog", seed=1, image_count=2))) as stream:
            await anext(stream)
            async with asyncio.TaskGroup() as group:
                for number in range(6):
                    group.create_task(load(number))
                for _ in range(4):
                    before, seen = done, [files.serial for files in (stage, gateway)]
                    issued()
                    while done < before + 12:  # noqa: ASYNC110 (twelve more pictures give no event)
                        await asyncio.sleep(0.01)
                    now = [
                        await asyncio.to_thread(presented, address, authority)
                        for address in (stages.addresses["decoder"], front.address)
                    ]
                    assert now == [stage.serial, gateway.serial]
                    assert not set(now) & set(seen)
                stopped.set()
            pictures = [event async for event in stream if isinstance(event, GeneratedImage)]
        assert len(pictures) == 2
        # Fair shares are kept by the name in the user's certificate, whatever it calls itself.
        async with AsyncClient(front.address, tls=tls, metadata=[("x-unclip-client", "me")]) as pretender:
            await pretender.generate("a cat", seed=1)
        assert {asked.metadata["x-unclip-client"] for asked in stages.decoder.asked} == {"urn:user"}


async def test_new_calls_show_the_new_certificate_while_a_running_one_ends_on_the_old(encoder: Encoder) -> None:
    mine = encoder.authority.issue("mine", GATEWAY)
    first = mine.serial
    channel = open_channel(encoder.address, tls=caller(encoder.authority, mine))
    assert await encoder.ask(None, channel) == "served"
    encoder.authority.issue("mine", GATEWAY)
    assert await encoder.ask(None, channel) == "served"
    assert encoder.callers == [first, mine.serial]
    assert first != mine.serial
    await channel.close()


def test_threads_have_their_certificates_renewed_too(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("server")
    more: Any = {"tls_cert": str(files.cert), "tls_key": str(files.key), "tls_ca": str(authority.ca)}
    mine = authority.issue("mine", GATEWAY)
    with LoopThread() as loop:
        stages = StubStages(MODEL)
        loop.run(stages.start())
        front = GatewayServer(stages.addresses, **more)
        loop.run(front.__aenter__())
        stages.decoder.faults.step_seconds = 0.05
        with Client(front.address, tls=caller(authority, mine)) as client:
            stream = client.stream(Generate("a cat", seed=1))
            next(stream)
            authority.issue("mine", GATEWAY)
            authority.issue("server")
            assert client.generate("a cat", seed=2)
            assert any(isinstance(event, GeneratedImage) for event in stream)
        loop.run(front.__aexit__(None, None, None))
        loop.run(stages.stop())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_cert": "c.pem"}, "tls_cert and tls_key go together"),
        ({"tls_ca": "ca.pem"}, "tls_ca needs tls_cert"),
        ({"allowed_identities": "x"}, "allowed identities need tls_ca"),
        ({"reflection": "maybe"}, "reflection must be auto, on or off; got 'maybe'"),
    ],
)
def test_settings_that_would_not_protect_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ServerSettings(**settings)  # type: ignore[arg-type]


async def test_files_that_cannot_serve_are_refused_at_start(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    (tmp_path / "empty").write_bytes(b"")
    for cert, key, said in (
        (tmp_path / "nothing", one.key, "nothing cannot be read"),
        (tmp_path / "empty", one.key, "empty must hold certificates in PEM"),
        (one.cert, one.cert, "one.pem must hold a private key in PEM"),
        (one.cert, other.key, "other.key is not the key of the certificate in .*one.pem"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            await start_server([], 0, ServerSettings(tls_cert=str(cert), tls_key=str(key)))


async def test_a_certificate_that_has_ended_is_refused_at_start_and_told_of_later(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, sound, soon = (datetime.timedelta(days=days) for days in (-1, 90, 0.5))  # the last of two days
    files = authority.issue("server", lasts=ended)
    settings = ServerSettings(tls_cert=str(files.cert), tls_key=str(files.key))
    with pytest.raises(ConfigurationError, match=r"server\.pem ended at .*Z: renew it"):
        await start_server([], 0, settings)

    for lasts, warnings in ((sound, 0), (soon, 1)):
        caplog.clear()
        authority.issue("server", lasts=lasts)
        server, address = await start_server([], 0, settings)
        assert sum("renew it" in record.message for record in caplog.records) == warnings
        if lasts is sound:
            await server.stop(0)
    caplog.clear()
    before = files.serial
    authority.issue("server", lasts=ended)
    assert await asyncio.to_thread(presented, address, authority) == before
    monkeypatch.setattr(
        "unclip.serving.tls.time", SimpleNamespace(time=lambda: time.time() + 86400.0)
    )  # now the one before has, too
    for _ in range(3):  # connections, none of which gets through
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(presented, address, authority)
    await server.stop(0)
    assert [record.levelname for record in caplog.records if "none of them gets through" in record.message] == ["ERROR"]


async def test_a_gateway_does_not_start_with_a_certificate_for_its_stages_that_has_ended(authority: Authority) -> None:
    files = authority.issue("gateway", lasts=datetime.timedelta(days=-1))
    with pytest.raises(ConfigurationError, match=r"gateway\.pem ended at"):
        await build(
            Settings(
                patience=0,
                stage_tls_ca=str(authority.ca),
                stage_tls_cert=str(files.cert),
                stage_tls_key=str(files.key),
            )
        )


def test_a_caller_has_a_certificate_and_its_key_or_neither(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        Tls(str(authority.ca), cert="c.pem")
