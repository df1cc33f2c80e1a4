"""``python -m tests.bench.replicas``: many stub decoders in one process, each a server of its own port.

The last port serves the other stages, which answer at once. ``--address-file`` gets all addresses, one a line. The
stubs are those of ``unclip.testing``, so they read requests and stream progress as the services do; but here they
compute their picture once, and who has to wait does so without polling, since 16 of them and the gateway that is to be
measured share two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from unclip.api.decoder.v1 import decoder_pb2
from unclip.options import SamplingSettings
from unclip.testing.decoder import StubDecoder, StubUpsampler
from unclip.testing.drawing import Float32Array
from unclip.testing.encoder import StubEncoder
from unclip.testing.faults import Faults
from unclip.testing.model import StubModel
from unclip.testing.prior import StubPrior
from unclip.testing.stack import start_server
from unclip.testing.stub import Context
from unclip.wire.tasks import DecodeTask, UpsampleTask

ROOM = 4096  # of the stages that are not measured


class Replica(StubDecoder):
    """A decoder that walks ``capacity`` pictures at once; the others wait in order of arrival."""

    def __init__(self, model: StubModel, step_seconds: float, capacity: int) -> None:
        super().__init__(model, Faults(step_seconds=step_seconds, capacity=ROOM), remember=False)
        self._turns = asyncio.Semaphore(capacity)
        self._picture: Float32Array | None = None

    async def Decode(
        self, request: decoder_pb2.DecodeRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.DecodeResponse]:
        """As the stub's, when it is its turn."""
        async with self._turns:
            async for answer in super().Decode(request, context):
                yield answer

    def decode(self, task: DecodeTask) -> Float32Array:
        """Always the first picture."""
        if self._picture is None:
            self._picture = super().decode(task)
        return self._picture


class QuickUpsampler(StubUpsampler):
    """Computes one picture and shows it for ever."""

    _picture: Float32Array | None = None

    def upsample(self, task: UpsampleTask) -> Float32Array:
        """Always the first picture."""
        if self._picture is None:
            self._picture = super().upsample(task)
        return self._picture


async def serve(replicas: int, seconds: float, capacity: int, size: int, file: Path) -> None:
    """Serves until SIGTERM. seconds: that a picture takes in the decoder. size: side of the final pictures."""
    settings = SamplingSettings("ddpm", 8, 8.0)
    model = StubModel(final_size=size, decoder=settings)
    quick = Faults(capacity=ROOM)
    stubs = [Replica(model, seconds / settings.steps, capacity) for _ in range(replicas)]
    others = [kind(model, quick, remember=False) for kind in (StubEncoder, StubPrior, QuickUpsampler)]
    services = [[stub.service] for stub in stubs] + [[stub.service for stub in others]]
    servers = [await start_server(served) for served in services]
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    part = file.with_suffix(".part")
    await asyncio.to_thread(part.write_text, "\n".join(address for _, address in servers))
    await asyncio.to_thread(part.replace, file)
    await stopped.wait()
    await asyncio.gather(*(server.stop(0) for server, _ in servers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address-file", type=Path, required=True)
    parser.add_argument("--replicas", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--capacity", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    told = parser.parse_args()
    asyncio.run(serve(told.replicas, told.seconds, told.capacity, told.size, told.address_file))
