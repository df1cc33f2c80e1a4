"""A request too large for the device is refused as such, and the service lives on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prior_svc.app import build
from prior_svc.settings import Settings
from tests.tiny import CONTEXT, WIDTH
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.trajectory import TrajectoryProgram
from unclip.networks.interface import Network, Tensors
from unclip.testing.stack import start_server
from unclip.wire.embeddings import Embedding, TextEncoding


class Small:
    """A device that has no memory left when the next call asks."""

    def __init__(self, network: Network) -> None:
        self.network, self.failures = network, 0

    def __call__(self, inputs: Tensors) -> torch.Tensor:
        if self.failures:
            self.failures -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.network(inputs)


async def test_out_of_device_memory_is_resource_exhausted_and_the_next_request_is_served(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await build(Settings(checkpoint=str(tiny_checkpoint), device="cpu"))
    program = app.engine._programs["prior"]
    assert isinstance(program, TrajectoryProgram)
    device = Small(program._network)
    monkeypatch.setattr(program, "_network", device)
    server, address = await start_server(app.services)
    try:
        blank = TextEncoding.blank(WIDTH, CONTEXT, WIDTH)
        named = Embedding(blank.embedding.values, Checkpoint.open(tiny_checkpoint).clip_space)
        text = TextEncoding(named, blank.token_states, blank.token_mask).to_proto()
        async with grpc.aio.insecure_channel(address) as channel:
            stub = prior_pb2_grpc.PriorServiceStub(channel)

            async def ask() -> prior_pb2.SampleResponse:
                request = prior_pb2.SampleRequest(text=text, unconditional_text=text, seed=1)
                answers = [answer async for answer in stub.Sample(request)]
                return answers[-1]

            before = await ask()
            device.failures = 1
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask()
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2.00 GiB" not in (refused.value.details() or "")
            status: Any = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
            info = error_details_pb2.ErrorInfo()
            assert any(detail.Unpack(info) for detail in status.details)
            assert info.reason == "OUT_OF_DEVICE_MEMORY"
            assert await ask() == before
            assert not app.failed.is_set()
    finally:
        await server.stop(None)
        await asyncio.shield(app.close())
