"""The shipped stubs as someone uses them who tests a client of this project."""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from tests.http2 import ACK, GOAWAY, PING, Connection, frame
from unclip import AsyncClient, Client, Generate, GeneratedImage, Progress
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.errors import Cancelled, InvalidRequest, Overloaded, PreconditionFailed
from unclip.testing import BlockingStubStack, Faults, StubModel, StubStack, StubStages

pytest_plugins = ["unclip.testing.fixtures"]

STUBBED_PROJECT = """
from unclip import Client

def test_mine(unclip_stack):
    assert Client(unclip_stack.address).generate("a cat", seed=1)
"""


@pytest.fixture
def client(unclip_stack: BlockingStubStack) -> Iterator[Client]:
    with Client(unclip_stack.address, timeout=20) as client:
        yield client


def opened(image: GeneratedImage) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


def test_a_stack_is_there_in_under_a_second() -> None:
    began = time.monotonic()
    with BlockingStubStack() as stack, Client(stack.address) as client:
        assert client.model_info().capabilities
        assert time.monotonic() - began < 1


def test_pictures_follow_from_the_seed_and_have_the_models_size(client: Client, unclip_model: StubModel) -> None:
    one, again, other = (client.generate("a cat", seed=seed)[0] for seed in (1, 1, 2))
    assert one.data == again.data
    assert opened(one).tobytes() != opened(other).tobytes()
    assert opened(one).size == (unclip_model.final_size, unclip_model.final_size)
    assert len(opened(one).getcolors(2**16) or []) > 100  # something to see


def test_a_variation_without_eta_looks_like_its_source(client: Client) -> None:
    source = Image.new("RGB", (64, 64), "white")
    [image] = client.vary(source, eta=0.0)
    darkest, _ = opened(image).convert("L").getextrema()
    assert isinstance(darkest, int)
    assert darkest > 128


def test_what_the_stages_were_asked_is_remembered(client: Client, unclip_stack: BlockingStubStack) -> None:
    client.generate("a cat", seed=5)
    captions = [c for request in unclip_stack.encoder.requests(encoder_pb2.EncodeTextRequest) for c in request.captions]
    assert set(captions) == {"", "a cat"}
    [sampled] = unclip_stack.prior.requests(prior_pb2.SampleRequest)
    assert sampled.seed == 5
    assert unclip_stack.prior.asked[0].metadata["x-request-id"]
    assert unclip_stack.decoder.requests(decoder_pb2.InvertRequest) == []
    unclip_stack.prior.reset()
    assert unclip_stack.prior.asked == []


def test_steps_take_the_time_they_are_given(client: Client, unclip_stack: BlockingStubStack) -> None:
    unclip_stack.decoder.faults.step_seconds = 0.05
    began = time.monotonic()
    client.generate("a cat", seed=1)
    assert time.monotonic() - began > 0.05 * unclip_stack.decoder.model.decoder.steps


def test_waiting_calls_are_told_their_place(client: Client, unclip_stack: BlockingStubStack) -> None:
    unclip_stack.decoder.faults = Faults(capacity=1, step_seconds=0.02)
    events = list(client.stream(Generate("a cat", seed=1, image_count=3)))
    places = [e.queue_position for e in events if isinstance(e, Progress) and e.stage == "decoder"]
    assert max(places) == 2
    assert len([event for event in events if isinstance(event, GeneratedImage)]) == 3


def test_without_room_callers_are_told_when_to_return(client: Client, unclip_stack: BlockingStubStack) -> None:
    unclip_stack.prior.faults = Faults(capacity=1, queue_limit=0, retry_after=7, step_seconds=0.05)
    with pytest.raises(Overloaded) as refused:
        client.generate("a cat", image_count=4, prior_candidates=1)
    assert refused.value.retry_after == 7


def test_so_many_calls_fail_and_then_all_is_well(client: Client, unclip_stack: BlockingStubStack) -> None:
    unclip_stack.upsampler.faults.fail = 1
    assert client.generate("a cat", seed=1)
    assert unclip_stack.upsampler.faults.fail == 0


def test_a_stream_breaks_off_where_it_is_told_to(client: Client, unclip_stack: BlockingStubStack) -> None:
    whole = client.generate("a cat", seed=1)[0]
    for faults in (Faults(break_streams=1), Faults(break_streams=1, breakage=Cancelled("gone"), break_after=0)):
        unclip_stack.decoder.faults = faults
        assert client.generate("a cat", seed=1)[0].data == whole.data
        assert faults.break_streams == 0
    assert len(unclip_stack.decoder.requests(decoder_pb2.DecodeRequest)) == 5


def test_a_hang_ends_when_it_is_let_go(client: Client, unclip_stack: BlockingStubStack) -> None:
    unclip_stack.prior.faults.hang = True
    stream = client.stream(Generate("a cat", seed=1))
    next(stream)
    time.sleep(0.2)
    assert unclip_stack.prior.running == 1
    unclip_stack.prior.faults.hang = False
    assert any(isinstance(event, GeneratedImage) for event in stream)
    assert unclip_stack.prior.running == 0


def test_refusals_and_missing_capabilities(client: Client, unclip_stack: BlockingStubStack) -> None:
    unclip_stack.decoder.faults.lacks = ["invert"]
    with pytest.raises(PreconditionFailed):
        client.vary(Image.new("RGB", (8, 8)))
    with grpc.insecure_channel(unclip_stack.addresses["decoder"]) as channel, pytest.raises(grpc.RpcError) as refused:
        list(decoder_pb2_grpc.DecoderServiceStub(channel).Invert(decoder_pb2.InvertRequest(), timeout=5))
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    unclip_stack.encoder.faults.refuse = Overloaded("no", 3)
    with pytest.raises(Overloaded):
        client.embed(captions=["a cat"])
    with pytest.raises(InvalidRequest):
        client.generate("")


def test_stages_can_be_stopped_and_come_back_where_they_were(unclip_stack: BlockingStubStack) -> None:
    ask, addresses = decoder_pb2.GetModelInfoRequest(), unclip_stack.addresses
    unclip_stack.stop_stages("decoder")
    with grpc.insecure_channel(addresses["decoder"]) as channel, pytest.raises(grpc.RpcError):
        decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo(ask, timeout=5)
    unclip_stack.start_stages("decoder")
    assert unclip_stack.addresses == addresses
    with grpc.insecure_channel(addresses["decoder"]) as channel:
        assert decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo(ask, timeout=5).model.name == "stub"


async def test_the_stack_serves_asyncio_too() -> None:
    model = StubModel(dim=8, context=9, base_size=16, final_size=32)
    async with StubStack(model) as stack, AsyncClient(stack.address) as client:
        [image] = await client.generate("a cat", seed=1)
        assert opened(image).size == (32, 32)
        assert stack.decoder.running == 0


def test_the_fixture_takes_one_line_of_a_strangers_project(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["unclip.testing.fixtures"]\n')
    (tmp_path / "test_mine.py").write_text(STUBBED_PROJECT)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_process_of_stubs_serves_all_on_one_port_and_stops_on_request(tmp_path: Path) -> None:
    address_file = tmp_path / "address"
    sizes = ["--base-size", "16", "--final-size", "32", "--steps", "2"]
    options = [*sizes, "--step-seconds", "0", "--address-file", str(address_file)]
    process = subprocess.Popen([sys.executable, "-m", "unclip.testing", *options], stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 20
        while not address_file.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        address = address_file.read_text().strip()
        with Client(address, timeout=20) as client:
            assert opened(client.generate("a cat", seed=1)[0]).size == (32, 32)
            assert {stage.defaults.steps for stage in client.model_info().stages} == {2, None}  # None: the encoder's
        with grpc.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for service in ("", "unclip.api.decoder.v1.DecoderService", "unclip.api.gateway.v1.GatewayService"):
                answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "options", [["--stages", "prior,gateway"], ["--stages", "x"], ["--hang", "gateway"], ["--final-size", "9"]]
)
def test_a_process_that_makes_no_sense_is_refused(options: list[str]) -> None:
    command = [sys.executable, "-m", "unclip.testing", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "must" in done.stderr


def test_stubs_need_no_torch() -> None:
    check = "import unclip.testing.app, sys; assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


async def test_stubs_bear_with_callers_who_ask_as_often_as_the_gateway_whether_they_are_there() -> None:
    def asked(address: str) -> list[int]:
        """The kinds of frames that come until as many pings are answered, or the server hangs up."""
        kinds = []
        with Connection(address) as connection:
            for _ in range(5):
                connection.send(frame(PING, bytes(8)))
                for kind, flags, _, _ in connection.frames():
                    kinds.append(kind)
                    if kind == GOAWAY or (kind == PING and flags & ACK):
                        break
                time.sleep(1.1)
        return kinds

    async with StubStages() as stages:
        kinds = await asyncio.to_thread(asked, stages.addresses["encoder"])
    assert GOAWAY not in kinds
    assert kinds.count(PING) >= 5
