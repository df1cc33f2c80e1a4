"""The services as an operator meets them: real processes that start, tell, refuse, drain and stop."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.processes import Process
from tests.tiny import BASE, CONTEXT, WIDTH
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.wire import tensors
from unclip.wire.embeddings import Embedding, TextEncoding

ENCODER, PRIOR = "unclip.api.encoder.v1.EncoderService", "unclip.api.prior.v1.PriorService"
PLAIN = ("--host", "127.0.0.1", "--port", "0", "--device", "cpu", "--threads", "1")
PATIENCE_S = 90.0


@contextmanager
def service(module: str, folder: Path, *options: str) -> Iterator[tuple[Process, grpc.Channel]]:
    """A running service and a channel to it."""
    with services(module, [folder], *options) as [running]:
        yield running


@contextmanager
def services(module: str, folders: Sequence[Path], *options: str) -> Iterator[list[tuple[Process, grpc.Channel]]]:
    """Several, started at once."""
    processes = [Process(module, [*PLAIN, *options], folder) for folder in folders]
    try:
        with ExitStack() as exits:
            yield [
                (process, exits.enter_context(grpc.insecure_channel(process.address(PATIENCE_S))))
                for process in processes
            ]
    finally:
        for process in processes:
            process.kill()


def told(channel: grpc.Channel, version: str) -> set[str]:
    """The services that a server lists by reflection; it also has the contract of each, or this fails."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    ask = reflection_pb2.ServerReflectionRequest
    [listed] = call(iter([ask(list_services="")]), timeout=5)
    names = [entry.name for entry in listed.list_services_response.service]
    contracts = call(iter([ask(file_containing_symbol=name) for name in names]), timeout=5)
    files = [FileDescriptorProto.FromString(c.file_descriptor_response.file_descriptor_proto[0]) for c in contracts]
    defined = {f"{file.package}.{service.name}" for file in files for service in file.service}
    assert defined >= set(names)
    return set(names)


def refusal(module: str, *options: str) -> str:
    """The one line of a service that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", module, *PLAIN, "--log-level", "ERROR", *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(module.removesuffix("_svc") + ": ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_a_service_tells_its_health_its_contracts_and_its_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with service("encoder_svc", tmp_path, "--checkpoint", str(tiny_checkpoint)) as (_, channel):
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", ENCODER):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for version in ("v1", "v1alpha"):
            assert {ENCODER, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"} <= told(
                channel, version
            )
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        model = stub.GetModelInfo(encoder_pb2.GetModelInfoRequest(), timeout=5).model
        assert (model.device, list(model.capabilities)) == ("cpu", ["encode_text", "encode_image"])


def test_sigterm_lets_a_call_under_way_end_and_exits_0(tiny_checkpoint: Path, tmp_path: Path) -> None:
    states = np.full((CONTEXT, WIDTH), 0.1, np.float32)
    space = Checkpoint.open(tiny_checkpoint).clip_space
    text = TextEncoding(Embedding(states[0], space), states, np.ones(CONTEXT, np.bool_)).to_proto()
    with service("prior_svc", tmp_path, "--checkpoint", str(tiny_checkpoint)) as (process, channel):
        request = prior_pb2.SampleRequest(text=text, unconditional_text=text, seed=1)
        request.sampling.steps = 300
        stream = prior_pb2_grpc.PriorServiceStub(channel).Sample(request, timeout=60)
        first = next(stream)
        assert first.progress.of == 300
        process.send_signal(signal.SIGTERM)
        *_, last = stream
        assert last.HasField("sampled")
        assert process.wait(30) == 0
        assert not (tmp_path / "prior_svc.address").exists()


def test_a_replica_serves_only_the_stages_it_is_told_to(tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = ("--checkpoint", str(tiny_checkpoint), "--stages", "upsample")
    with service("decoder_svc", tmp_path, *options) as (_, channel):
        upsampler = upsampler_pb2_grpc.UpsamplerServiceStub(channel)
        info = upsampler.GetModelInfo(upsampler_pb2.UpsamplerServiceGetModelInfoRequest(), timeout=5)
        assert list(info.model.capabilities) == ["upsample", "edit"]
        with pytest.raises(grpc.RpcError) as failed:
            decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=5)
        assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_replica_killed_midway_is_made_up_for_by_another_with_the_same_picture(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    def asked(seed: int) -> upsampler_pb2.UpsampleRequest:
        base = np.random.default_rng(seed).uniform(-1, 1, (3, BASE, BASE)).astype(np.float32)
        request = upsampler_pb2.UpsampleRequest(sample=tensors.to_proto(base), seed=seed)
        request.sampling.steps = 60 + seed
        return request

    def last(stream: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        *_, answer = stream
        return tensors.from_proto(answer.sample, "sample", dtype=np.float32, shape=[3, None, None])

    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    options = ("--checkpoint", str(tiny_checkpoint), "--stages", "upsample")
    with services("decoder_svc", [tmp_path / "one", tmp_path / "other"], *options) as [(process, one), (_, other)]:
        first, second = (upsampler_pb2_grpc.UpsamplerServiceStub(channel) for channel in (one, other))
        alone = last(first.Upsample(asked(1), timeout=60))
        broken = first.Upsample(asked(1), timeout=60)
        next(broken)
        process.kill()
        with pytest.raises(grpc.RpcError) as lost:
            last(broken)
        assert lost.value.code() == grpc.StatusCode.UNAVAILABLE
        beside = [second.Upsample(asked(seed), timeout=60) for seed in (2, 3, 4)]
        again = last(second.Upsample(asked(1), timeout=60))
        assert np.abs(again - alone).max() <= 2 / 255  # pictures lie in [-1, 1]
        assert np.abs(last(beside[0]) - alone).max() > 2 / 255


def test_a_port_that_is_taken_is_a_clear_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in refusal("prior_svc", "--port", port)


def test_what_is_wrong_with_a_checkpoint_is_a_clear_refusal(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Each its own; several processes at once, as they take their time to say so."""
    altered = shutil.copytree(tiny_checkpoint, tmp_path / "altered")
    weights = next((altered / "prior").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    cases = [
        ("prior_svc", tmp_path / "nothing", "no such folder"),
        ("prior_svc", altered, f"{weights} is altered"),
    ]
    for module, component in (("encoder_svc", "text_encoder"), ("decoder_svc", "decoder")):
        listed = shutil.copytree(tiny_checkpoint, tmp_path / f"{component}-listed")
        next((listed / component).glob("*.safetensors")).unlink()
        bare = shutil.copytree(listed, tmp_path / f"{component}-bare")
        (bare / "unclip.json").unlink()  # as Karlo is published: nothing lists the files
        cases += [(module, listed, "is missing"), (module, bare, f"{component} does not load")]
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda case: refusal(case[0], "--checkpoint", str(case[1])), cases)
        for (_, _, expected), line in zip(cases, told, strict=True):
            assert expected in line
