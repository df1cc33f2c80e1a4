"""A caller that knows one replica alone has left it for its successor before it says that it does not serve."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import grpc
import pytest

from tests.drill.names import NameServer
from tests.processes import Process, free_port
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.serving.channels import open_channel

SERVICE = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name
AGE_S = 1.0
LEFT_S = 1.1 * AGE_S + 5 + 1.5  # connections end a tenth later at most; a channel asks its names every 5 s at most


async def codes(stub: encoder_pb2_grpc.EncoderServiceAsyncStub, seconds: float) -> set[str]:
    """How calls end for so long."""
    found, end = set[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await stub.GetModelInfo(encoder_pb2.GetModelInfoRequest(), timeout=10)
            found.add("OK")
        except grpc.aio.AioRpcError as error:
            found.add(error.code().name)
        await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize(("age", "seen"), [(AGE_S, {"OK"}), (300.0, {"UNAVAILABLE"})], ids=["young", "old"])
async def test_callers_whose_connections_are_young_have_left(age: float, seen: set[str], tmp_path: Path) -> None:
    port, net = free_port(), f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"

    def replica(number: int) -> Process:
        words = ["--stages", "encoder", "--host", f"{net}.{number}", "--port", str(port), "--drain", "4"]
        return Process("unclip.testing", [*words, "--max-connection-age", str(age)], tmp_path, f"encoder-{number}")

    with NameServer() as names, replica(2) as old, replica(3) as new:
        names.records["front"] = (old.address().rpartition(":")[0],)
        channel = open_channel(f"dns://{names.address}/front:{port}", SERVICE)
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        assert await codes(stub, 0.5) == {"OK"}
        names.records["front"] = (new.address().rpartition(":")[0],)
        assert await codes(stub, LEFT_S) == {"OK"}
        old.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert await codes(stub, 1) == seen
        await channel.close()
