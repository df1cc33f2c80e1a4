"""kill: a decoder with a picture under way is killed with SIGKILL, again and again. Every picture comes, and is the
one that an undisturbed run makes: the gateway has another replica begin it anew, and noise follows from the seed."""

from __future__ import annotations

import asyncio
import io

import grpc
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.drill.cluster import Cluster, Replica, Role, beside, cluster
from tests.drill.load import GATEWAY
from tests.drill.report import Finding, Setting
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.serving.channels import open_channel

KILLS, KILLS_SHORT = 20, 2
STEPS = 300  # of the tiny decoder: a second or so
ALLOWED = 1 / 255  # per pixel, the contract for other batch sizes

Pixels = npt.NDArray[np.uint8]


async def run(setting: Setting) -> Finding:
    """Real services with the tiny checkpoint; a replica that was killed is replaced before the next kill. Short: what
    comes before the decoder is stubbed."""
    finding = Finding("kill -9 of a decoder mid-picture")
    kills = KILLS_SHORT if setting.short else KILLS
    counts: dict[Role, int] = {"encoder": 1, "prior": 1, "decoder": 3, "upsampler": 1, "gateway": 1}
    stubbed: tuple[Role, ...] = ("encoder", "prior") if setting.short else ()
    stubs = dict.fromkeys(stubbed, beside(setting.checkpoint))
    with cluster(setting.folder, counts, stubs=stubs, checkpoint=setting.checkpoint) as running:
        channel = open_channel(running.target("gateway"), GATEWAY)
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        undisturbed = [await picture(stub, seed) for seed in range(kills)]
        failed, apart = 0, 0.0
        for seed in range(kills):
            try:
                found = await picture(stub, seed, running)
            except grpc.aio.AioRpcError:
                failed += 1
            else:
                apart = max(apart, float(np.abs(found.astype(int) - undisturbed[seed]).max()) / 255)
            if seed + 1 < kills:
                await asyncio.to_thread(running.admit, running.launch("decoder"))
        await channel.close()
    finding.claim(f"{failed} of {kills} calls failed", failed == 0)
    finding.claim(f"pixels at most {apart * 255:.0f}/255 from the undisturbed run", apart <= ALLOWED)
    return finding


async def picture(stub: gateway_pb2_grpc.GatewayServiceAsyncStub, seed: int, running: Cluster | None = None) -> Pixels:
    """One picture; with ``running``, the decoder that makes it is killed when it has taken some steps."""
    request = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a red cat", seed=seed))
    request.generate.decoder.steps = STEPS
    killed = running is None
    async for answer in stub.Stream(request, timeout=120):
        told = answer.progress
        if not killed and running and told.stage == sampling_pb2.STAGE_DECODER and told.step > STEPS // 10:
            busy = await asyncio.to_thread(at_work, running)
            assert busy is not None, "the picture was finished before its decoder could be killed"
            await asyncio.to_thread(running.lose, busy)
            killed = True
        if answer.HasField("image"):
            assert killed
            return np.asarray(Image.open(io.BytesIO(answer.image.image.data)).convert("RGB"))
    raise AssertionError("the stream ended without a picture")


def at_work(running: Cluster) -> Replica | None:
    """The decoder that has something under way."""
    return next((one for one in running.of("decoder") if one.metrics.known("unclip_rows_running")), None)
