"""A whole name with a dot behind it is the only one that DNS is asked for, in pods too, which complete shorter ones."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import grpc
import pytest

from tests.drill.names import NameServer
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.serving import renewal
from unclip.serving.channels import open_channel

NAME = "unclip-prior.pictures.svc.cluster.local"
# What /etc/resolv.conf says in a pod.
POD = {"LOCALDOMAIN": "pictures.svc.cluster.local svc.cluster.local cluster.local", "RES_OPTIONS": "ndots:5"}


class Listening(NameServer):
    """A name server that knows what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.queries = 0

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        self.asked.add(".".join(labels).lower())
        self.queries += 1
        return super()._answer(query)


async def asked_for(host: str) -> set[str]:
    """Names that a call of ``host`` asks for."""
    with Listening() as names:
        names.records[NAME] = ("127.0.0.1",)
        channel = open_channel(f"dns://{names.address}/{host}:1")
        try:
            await prior_pb2_grpc.PriorServiceStub(channel).GetModelInfo(prior_pb2.GetModelInfoRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            pass  # nobody listens there
        finally:
            await channel.close()
        return names.asked


def in_a_pod(host: str) -> set[str]:
    """As `asked_for`, by a process that completes names as a pod's do."""
    command = [sys.executable, "-m", "tests.integration.test_lookups", host]
    told = subprocess.run(command, env={**os.environ, **POD}, capture_output=True, text=True, check=True)
    return set(told.stdout.split())


def test_a_whole_name_is_asked_for_as_it_is() -> None:
    assert in_a_pod(f"{NAME}.") == {NAME}


def test_a_name_without_a_dot_behind_it_is_completed_first() -> None:
    assert f"{NAME}.pictures.svc.cluster.local" in in_a_pod(NAME)


async def test_a_name_that_nobody_answers_to_yet_is_asked_for_as_often_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC would ask after 1 s, 1.6 s, 2.6 s and so on to two minutes."""
    monkeypatch.setattr(renewal, "LOST_S", 0.2)
    with Listening() as names:
        channel, end = open_channel(f"dns://{names.address}/{NAME}.:1"), time.monotonic() + 3
        stub = prior_pb2_grpc.PriorServiceStub(channel)
        while time.monotonic() < end:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetModelInfo(prior_pb2.GetModelInfoRequest(), timeout=1)
            await asyncio.sleep(0.05)
        await channel.close()
        assert names.queries > 2 * 5  # for addresses of either family


if __name__ == "__main__":
    print(*asyncio.run(asked_for(sys.argv[1])))
