"""TLS and mTLS over real sockets: who is refused, and who is served."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.app import build
from gateway.settings import Settings
from tests.certificates import Authority, presented
from tests.integration.tls_encoder import GATEWAY, Encoder, caller
from unclip import Tls
from unclip.errors import ConfigurationError, PermissionDenied
from unclip.serving.channels import open_channel
from unclip.serving.error_table import from_rpc_error
from unclip.serving.settings import ServerSettings
from unclip.testing.stack import start_server


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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_cert": "c.pem"}, "tls_cert and tls_key go together"),
        ({"tls_ca": "ca.pem"}, "tls_ca needs tls_cert"),
        ({"allowed_identities": "x"}, "allowed identities need tls_ca"),
        ({"tls_mode": "lax"}, "tls_mode must be strict or permissive; got 'lax'"),
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
