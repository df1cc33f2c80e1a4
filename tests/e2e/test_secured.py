"""A secured stack as an operator meets it: real processes over mTLS, keys at the gateway, the command line in front."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.certificates import Authority, presented, put
from tests.e2e.processes import PATIENCE_S, cli, service
from tests.metrics import Metrics
from tests.processes import free_port
from unclip import Client, LocalStack, Tls
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc
from unclip.api.gateway.v1 import gateway_pb2_grpc
from unclip.errors import UnclipError
from unclip.local import processes
from unclip.local.stack import MODEL_SERVICES, ready
from unclip.serving.channels import open_sync_channel

# Stands for the services with networks in a local stack: a stub of the stages that each of them serves.
STAND_IN = """
import sys
from unclip.serving.server import main
from unclip.testing.settings import Settings

module, arguments = sys.argv[1], sys.argv[2:]
at = arguments.index("--checkpoint")
del arguments[at : at + 2]
stages = {"encoder_svc": "encoder", "prior_svc": "prior", "decoder_svc": "decoder,upsampler"}[module]
sys.exit(main("unclip.testing", Settings, ["--stages", stages, "--step-seconds", "0", *arguments]))
"""
STAGES = ("encoder", "prior", "decoder", "upsampler")
GATEWAY = "spiffe://unclip/gateway"


@dataclass(frozen=True)
class Secured:
    """Stages behind mTLS, a gateway behind TLS and keys. health: where the gateway tells its health in plaintext."""

    authority: Authority
    stages: str
    gateway: str
    health: str
    metrics: str
    keys: Path
    allowed: Path
    key: str


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority, keys, allowed = Authority(folder), folder / "keys.toml", folder / "allowed"
    stage, gateway = authority.issue("stage"), authority.issue("gateway", GATEWAY)
    made = json.loads(cli("keys", "new", "alice", "--requests-per-minute", "6000", "--json").stdout)
    put(keys, json.dumps({"keys": made["keys"]}).encode())
    put(allowed, GATEWAY.encode())
    health, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with ExitStack() as running:
        stages = running.enter_context(
            service(
                "unclip.testing",
                folder,
                *("--stages", ",".join(STAGES), "--tls-cert", str(stage.cert), "--tls-key", str(stage.key)),
                *("--tls-ca", str(authority.ca), "--allowed-identities-file", str(allowed), "--step-seconds", "0"),
            )
        )
        front = running.enter_context(
            service(
                "gateway",
                folder,
                *(word for name in STAGES for word in (f"--{name}", stages)),
                *("--tls-cert", str(gateway.cert), "--tls-key", str(gateway.key), "--api-keys", str(keys)),
                *("--stage-tls-ca", str(authority.ca), "--stage-tls-cert", str(gateway.cert)),
                *("--stage-tls-key", str(gateway.key), "--health-listen", health, "--metrics", metrics),
            )
        )
        yield Secured(authority, stages, front, health, metrics, keys, allowed, made["key"])


def test_the_command_line_shows_its_key_over_tls(secured: Secured, tmp_path: Path) -> None:
    reach = ("--server", secured.gateway, "--tls-ca", str(secured.authority.ca))
    told = cli("info", *reach, UNCLIP_API_KEY=secured.key)
    assert (told.returncode, told.stderr) == (0, "")
    assert "stub" in told.stdout
    made = cli("generate", "a cat", *reach, "--out", str(tmp_path), UNCLIP_API_KEY=secured.key)
    assert made.returncode == 0, made.stderr
    assert list(tmp_path.glob("*.png"))
    refused = cli("info", *reach, UNCLIP_API_KEY="")
    assert (refused.returncode, refused.stderr) == (4, "unclip: an API key is needed: authorization: Bearer <key>\n")
    plain = cli("info", "--server", secured.gateway, "--timeout", "5", UNCLIP_API_KEY=secured.key)
    assert plain.returncode == 3


def test_probes_find_health_in_plaintext_and_nothing_else(secured: Secured) -> None:
    with grpc.insecure_channel(secured.health) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", "unclip.api.gateway.v1.GatewayService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask: Any = channel.unary_unary("/unclip.api.gateway.v1.GatewayService/GetModelInfo")
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=5)
        assert isinstance(refused.value, grpc.Call)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_secured_gateway_does_not_tell_its_contracts(secured: Secured) -> None:
    with open_sync_channel(secured.gateway, tls=Tls(str(secured.authority.ca))) as channel:
        contracts: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            list(contracts.ServerReflectionInfo(iter([listing]), timeout=5))
        assert isinstance(refused.value, grpc.Call)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_contracts_are_told_to_who_has_a_key_where_reflection_is_asked_for(secured: Secured, tmp_path: Path) -> None:
    options = ("--api-keys", str(secured.keys), "--reflection", "on")
    with service("unclip.testing", tmp_path, *options) as address, grpc.insecure_channel(address) as channel:
        contracts: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            list(contracts.ServerReflectionInfo(iter([listing]), timeout=5))
        assert isinstance(refused.value, grpc.Call)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        shown = (("authorization", f"Bearer {secured.key}"),)
        [found] = contracts.ServerReflectionInfo(iter([listing]), timeout=5, metadata=shown)
        assert "unclip.api.gateway.v1.GatewayService" in {e.name for e in found.list_services_response.service}


def test_certificates_of_running_processes_rotate_and_no_call_fails(secured: Secured) -> None:
    done, stop = [0, 0, 0], threading.Event()

    def load(number: int) -> None:
        with Client(secured.gateway, tls=Tls(str(secured.authority.ca)), api_key=secured.key) as client:
            while not stop.is_set():
                [image] = client.generate("a cat", seed=number)
                done[number] += image.seed == number

    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(load, number) for number in range(3)]
        try:
            for _ in range(3):
                stage, gateway = secured.authority.issue("stage"), secured.authority.issue("gateway", GATEWAY)
                wanted, end = [count + 3 for count in done], time.monotonic() + PATIENCE_S
                while any(count < want for count, want in zip(done, wanted, strict=True)):
                    assert time.monotonic() < end
                    assert not any(caller.done() for caller in callers)
                    time.sleep(0.01)
                for address, files in ((secured.stages, stage), (secured.gateway, gateway)):
                    assert presented(address, secured.authority) == files.serial
        finally:
            stop.set()
        for caller in callers:
            caller.result()  # raises what any of its calls met with


def test_the_gateways_revoked_identity_is_refused_by_the_stages(secured: Secured) -> None:
    user = secured.authority.issue("user", "urn:user")
    tls = Tls(str(secured.authority.ca), str(user.cert), str(user.key))
    with open_sync_channel(secured.stages, tls=tls) as channel, pytest.raises(grpc.RpcError) as refused:
        decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=5)
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    with Client(secured.gateway, tls=Tls(str(secured.authority.ca)), api_key=secured.key) as client:
        assert client.generate("a cat", seed=1)
        put(secured.allowed, b"spiffe://unclip/other")
        with pytest.raises(UnclipError, match="INTERNAL: internal error"):  # not the caller's to know, nor to mend
            client.embed(["a cat"])
        put(secured.allowed, GATEWAY.encode())
        assert client.embed(["a cat"])


def test_metrics_tell_when_certificates_end_and_whose_calls_were_refused(secured: Secured) -> None:
    cli("info", "--server", secured.gateway, "--tls-ca", str(secured.authority.ca), UNCLIP_API_KEY="unclip_no")
    told = Metrics(secured.metrics)
    for role in ("server", "client"):
        assert 0 < told.known("unclip_tls_certificate_expiry_seconds", role=role) <= 86400
    assert told.known("unclip_api_key_refusals_total", key="", reason="CREDENTIALS_INVALID") >= 1


def test_a_local_stack_can_be_secured_on_every_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]))
    monkeypatch.setenv("UNCLIP_SHARE_IMPORTS", "0")  # so that the command line is what starts them
    original = processes.command

    def command(module: str) -> list[str]:
        return [sys.executable, str(program), module] if module in MODEL_SERVICES.values() else original(module)

    monkeypatch.setattr(processes, "command", command)
    authority = Authority(tmp_path)
    stage, gateway = authority.issue("stage"), authority.issue("gateway", GATEWAY)
    made = json.loads(cli("keys", "new", "alice", "--json").stdout)
    put(tmp_path / "keys.json", json.dumps({"keys": made["keys"]}).encode())
    inside = ("--tls-cert", str(stage.cert), "--tls-key", str(stage.key), "--tls-ca", str(authority.ca))
    front = ("--tls-cert", str(gateway.cert), "--tls-key", str(gateway.key), "--api-keys", str(tmp_path / "keys.json"))
    calls = ("--stage-tls-cert", str(gateway.cert), "--stage-tls-key", str(gateway.key))
    options = {
        **dict.fromkeys(MODEL_SERVICES, (*inside, "--allowed-identities", GATEWAY)),
        "gateway": (*front, *calls, "--stage-tls-ca", str(authority.ca)),
    }
    tls = Tls(str(authority.ca))
    with LocalStack(tmp_path, options=options, tls=tls, api_key=made["key"]) as stack:
        with Client(stack.address, tls=tls, api_key=made["key"]) as client:
            assert client.generate("a cat", seed=1)
        with Client(stack.address, timeout=5) as plain, pytest.raises(UnclipError, match="cannot be reached"):
            plain.model_info()


def test_a_local_stack_whose_gateway_wants_a_key_it_was_not_given_starts_all_the_same(secured: Secured) -> None:
    with open_sync_channel(secured.gateway, tls=Tls(str(secured.authority.ca))) as channel:
        assert ready(gateway_pb2_grpc.GatewayServiceStub(channel)) == "ready"
