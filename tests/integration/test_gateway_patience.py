"""More than can be done: who is let in is served, who is not hears so at once, and no stage works for nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np

from tests.processes import Process
from unclip.api.decoder.v1 import upsampler_pb2, upsampler_pb2_grpc
from unclip.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from unclip.api.prior.v1 import prior_pb2
from unclip.options import ROOMS, ServiceName
from unclip.testing import Faults, GatewayServer, StubStack, StubStages
from unclip.wire import tensors

PLAIN = (("grpc.enable_retries", 0),)


async def generate(address: str, seconds: float, **fields: object) -> tuple[str, float]:
    """(status, seconds that it took)."""
    async with grpc.aio.insecure_channel(address, options=PLAIN) as channel:
        stub, began = gateway_pb2_grpc.GatewayServiceStub(channel), time.monotonic()
        try:
            request = gateway_pb2.GenerateRequest(caption="a cat", **fields)  # type: ignore[arg-type]
            await stub.Generate(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()}", time.monotonic() - began
        return "OK", time.monotonic() - began


async def test_of_many_more_calls_than_can_be_done_those_let_in_are_served_and_no_prior_works_for_the_others() -> None:
    async with StubStack() as stack:
        stack.decoder.faults = Faults(capacity=1, step_seconds=0.01, fair_shares=False)  # 12 pictures a second
        await asyncio.gather(*(generate(stack.address, 60.0) for _ in range(40)))  # now its pace is known
        stack.prior.asked.clear()
        ended = await asyncio.gather(*(generate(stack.address, 3.0) for _ in range(100)))
        asked = len(stack.prior.requests(prior_pb2.SampleRequest))
    counts = Counter(status.split()[0] for status, _ in ended)
    assert set(counts) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert counts["OK"] >= 5
    assert counts["RESOURCE_EXHAUSTED"] >= 50
    assert asked <= counts["OK"] + 15


async def test_many_pictures_that_leave_each_other_no_time_are_no_overload_and_the_next_ones_cost_no_work() -> None:
    async with StubStack() as stack:
        stack.decoder.faults = Faults(capacity=1, max_batch=1, step_seconds=0.05)  # 16 pictures of 8 steps: 6.4 s
        first, seconds = await generate(stack.address, 4.0, image_count=16)
        assert first.startswith("DEADLINE_EXCEEDED decoder: 8 steps take about")
        assert "with other parts of its request" in first
        assert seconds < 2.0
        assert (await generate(stack.address, 30.0, image_count=16))[0] == "OK"
        stack.prior.asked.clear()
        second, _ = await generate(stack.address, 4.0, image_count=16)
        assert second.startswith("DEADLINE_EXCEEDED the stages take about")
        assert not stack.prior.asked
        assert (await generate(stack.address, 4.0, image_count=4))[0] == "OK"


async def test_requests_by_the_same_id_are_not_taken_for_one() -> None:
    async with StubStack() as stack, grpc.aio.insecure_channel(stack.address, options=PLAIN) as channel:
        stack.decoder.faults = Faults(capacity=1, max_batch=1, step_seconds=0.05)  # a picture takes 0.4 s

        async def ask() -> str:
            request = gateway_pb2.GenerateRequest(caption="a cat")
            try:
                stub = gateway_pb2_grpc.GatewayServiceStub(channel)
                await stub.Generate(request, timeout=1.5, metadata=(("x-request-id", "mine"),))
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

        ended = Counter(await asyncio.gather(*(ask() for _ in range(6))))
        assert set(ended) == {"OK", "RESOURCE_EXHAUSTED"}


async def test_stages_hear_which_calls_belong_together_from_the_gateway_alone() -> None:
    async with StubStack() as stack, grpc.aio.insecure_channel(stack.address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for _ in range(2):
            request = gateway_pb2.GenerateRequest(caption="a cat", image_count=3)
            await stub.Generate(request, metadata=(("x-unclip-part-of", "mine"),))
        names = [asked.metadata["x-unclip-part-of"] for asked in (*stack.prior.asked, *stack.decoder.asked)]
    assert sorted(Counter(names).values()) == [6, 6]
    assert "mine" not in names


async def test_one_request_of_a_client_may_take_all_of_its_time() -> None:
    async with StubStack() as stack:
        stack.decoder.faults = Faults(capacity=1, step_seconds=0.03)
        assert (await generate(stack.address, 5.5, image_count=16))[0] == "OK"  # 3.8 s, more than half


async def test_sixteen_pictures_of_sixteen_candidates_are_more_than_a_clients_share_and_are_served() -> None:
    assert ROOMS["prior"].places // 2 < 16 * 16
    async with StubStack() as stack:
        status, _ = await generate(stack.address, 60.0, image_count=16, prior_candidates=16)
        assert status == "OK"


async def test_two_such_requests_of_one_client_are_served_beside_each_other() -> None:
    async with StubStack() as stack:
        stack.prior.faults.step_seconds = 0.01
        large = (generate(stack.address, 60.0, image_count=16, prior_candidates=16) for _ in range(2))
        assert [status for status, _ in await asyncio.gather(*large)] == ["OK", "OK"]


async def test_more_requests_of_one_client_than_it_has_places_for_wait_for_each_other() -> None:
    tight: dict[ServiceName, Faults] = {
        stage: Faults(capacity=4, queue_limit=16, step_seconds=0.002) for stage in ROOMS if stage != "encoder"
    }
    async with StubStages(faults=tight) as stages, GatewayServer(stages.addresses) as gateway:
        several = (generate(gateway.address, 60.0, image_count=8, prior_candidates=1) for _ in range(5))
        assert [status for status, _ in await asyncio.gather(*several)] == ["OK"] * 5


async def test_sixteen_pictures_are_served_by_stages_with_two_places() -> None:
    tight: dict[ServiceName, Faults] = {
        stage: Faults(capacity=1, queue_limit=1) for stage in ROOMS if stage != "encoder"
    }
    async with StubStages(faults=tight) as stages, GatewayServer(stages.addresses) as gateway:
        assert (await generate(gateway.address, 60.0, image_count=16))[0] == "OK"


async def test_more_candidates_than_a_prior_has_places_are_no_matter_of_trying_again() -> None:
    tight: dict[ServiceName, Faults] = {"prior": Faults(capacity=2, queue_limit=3)}
    async with StubStages(faults=tight) as stages, GatewayServer(stages.addresses) as gateway:
        status, _ = await generate(gateway.address, 60.0, prior_candidates=6)
        assert status == "INVALID_ARGUMENT prior_candidates: must be 1 to 5; got 6"
        assert (await generate(gateway.address, 60.0, prior_candidates=5))[0] == "OK"


async def test_calls_beyond_all_places_are_refused_at_once_and_none_is_lost_when_its_connection_grows_old(
    tmp_path: Path,
) -> None:
    calls, places = 500, 300
    options = ["--stages", "upsampler", "--base-size", "8", "--final-size", "8", "--step-seconds", "0.02"]
    options += ["--capacity", "16", "--queue-limit", str(places - 16), "--max-connection-age", "1"]
    with Process("unclip.testing", options, tmp_path) as stage:
        async with grpc.aio.insecure_channel(stage.address(), options=PLAIN) as channel:
            stub = upsampler_pb2_grpc.UpsamplerServiceStub(channel)
            sample = tensors.to_proto(np.zeros((3, 8, 8), np.float32))

            async def upsample(number: int) -> str:
                request = upsampler_pb2.UpsampleRequest(sample=sample, seed=number)
                request.sampling.steps = 3
                metadata = (("x-unclip-client", str(number)),)
                try:
                    async for _ in stub.Upsample(request, timeout=60, metadata=metadata):
                        pass
                except grpc.aio.AioRpcError as error:
                    return error.code().name
                return "OK"

            ended = Counter(await asyncio.gather(*(upsample(number) for number in range(calls))))
    assert set(ended) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert ended["OK"] >= places
