"""While callers are moved to TLS, a server takes both kinds at one port, and then only one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.certificates import Authority, presented
from tests.integration.tls_encoder import GATEWAY, caller
from tests.processes import Process
from unclip import Tls
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.serving.channels import open_channel
from unclip.serving.permissive import address_for


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def prior(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A stub of the prior that lets in the gateway's certificate, and whoever speaks no TLS."""
    files = authority.issue("prior")
    serving = ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca", str(authority.ca)]
    options = [*serving, "--allowed-identities", GATEWAY, "--tls-mode", "permissive"]
    folder = tmp_path_factory.mktemp("prior")
    with Process("unclip.testing", ["--stages", "prior", "--step-seconds", "0", *options], folder) as process:
        yield process


async def ask(address: str, tls: Tls | None) -> str:
    """ "served", or the status that a caller gets."""
    channel = open_channel(address, tls=tls)
    try:
        await prior_pb2_grpc.PriorServiceStub(channel).GetModelInfo(prior_pb2.GetModelInfoRequest(), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    finally:
        await channel.close()
    return "served"


async def test_callers_with_and_without_tls_are_served_at_one_port(authority: Authority, prior: Process) -> None:
    mine = caller(authority, authority.issue("mine", GATEWAY))
    asked = [ask(prior.address(), tls) for _ in range(8) for tls in (None, mine)]
    assert await asyncio.gather(*asked) == ["served"] * 16


async def test_who_speaks_tls_is_looked_at_as_ever(authority: Authority, prior: Process, tmp_path: Path) -> None:
    stranger = authority.issue("stranger", "spiffe://unclip/other", hosts=False)
    assert await ask(prior.address(), caller(authority, stranger)) == "PERMISSION_DENIED"
    forged = Authority(tmp_path, "other").issue("forged", GATEWAY)
    assert await ask(prior.address(), caller(authority, forged)) == "UNAVAILABLE"
    assert await ask(prior.address(), caller(authority, None)) == "UNAVAILABLE"


async def test_who_says_nothing_and_who_hangs_up_holds_nobody_up(authority: Authority, prior: Process) -> None:
    host, _, port = prior.address().rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    silent[0].sendall(b"\x16")
    silent[1].sendall(b"P")
    silent[2].sendall(b"GET / HTTP/1.1\r\n\r\n")
    for each in silent[3:10]:
        each.close()
    assert await ask(prior.address(), None) == "served"
    for each in silent:
        each.close()


def test_hosts_stay_apart() -> None:
    hosts = [f"192.0.2.{number}" for number in range(1, 100)]
    assert len({address_for(host) for host in hosts}) == len(hosts)
    assert address_for("192.0.2.1") == address_for("192.0.2.1")
    for host in hosts:
        assert address_for(host).startswith("127.")
        assert not address_for(host).endswith((".0", ".255"))


def test_nothing_is_let_in_without_tls_unless_told_to(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("strict")
    options = ["--stages", "prior", "--tls-cert", str(files.cert), "--tls-key", str(files.key)]
    with Process("unclip.testing", options, tmp_path) as process:
        assert asyncio.run(ask(process.address(), None)) == "UNAVAILABLE"
        assert presented(process.address(), authority) == files.serial
