"""The services as the chart starts them: its commands and variables, its probes, its ports, on loopback addresses."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

from tests.certificates import Authority
from tests.deploy.chart import Object, component, container, environment, of_kind, render
from tests.deploy.finding import names_of
from tests.drill.names import NameServer
from unclip import Client
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.serving.probe import state
from unclip.serving.tls import Tls

PATIENCE_S = 120.0


def address_of(number: int) -> str:
    """A loopback address that no other run of the tests uses, in place of a pod's."""
    process = os.getpid()
    return f"127.{64 + process // 256 % 64}.{process % 256}.{number}"


def names(objects: list[Object], addresses: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What the cluster's DNS would answer for headless Services."""
    return {
        names_of(found, objects)[-1]: (addresses[component(found)],)
        for found in of_kind(objects, "Service")
        if found["spec"].get("clusterIP") == "None"
    }


def variables(pod: Object, own: str, server: NameServer, checkpoint: Path, folder: Path) -> dict[str, str]:
    """A pod's variables, with a loopback address for the pod's, a name server for the cluster's, tiny weights, and
    ``<folder>/<service>`` for what is mounted."""
    found = {name: value.replace("[::]", own) for name, value in environment(pod).items()}
    found = {name: value.replace("dns:///", f"dns://{server.address}/") for name, value in found.items()}
    found = {name: value.replace("/etc/unclip", str(folder / component(pod))) for name, value in found.items()}
    if "UNCLIP_CHECKPOINT" in found:
        found["UNCLIP_CHECKPOINT"] = str(checkpoint)
    return {**found, "UNCLIP_DRAIN": "0"}  # nobody here looks elsewhere


@dataclass(frozen=True)
class Release:
    """A running release: the pod and the address of each service, and the gateway's target for clients."""

    pods: dict[str, Object]
    addresses: dict[str, str]
    target: str


@contextmanager
def release(objects: list[Object], checkpoint: Path, folder: Path, stubbed: bool = False) -> Iterator[Release]:
    """The Deployments of a release as processes, with logs in ``folder``. Ends them with SIGTERM, all to 0.

    stubbed: stubs in place of the stages, that start in no time and are told the same.
    """
    pods = {component(found): found["spec"]["template"] for found in of_kind(objects, "Deployment")}
    addresses = {name: address_of(number) for number, name in enumerate(pods, 2)}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with NameServer() as server:
        server.records = names(objects, addresses)
        try:
            for name, pod in pods.items():
                _, *arguments = container(pod)["command"]
                if stubbed and name not in ("gateway", "web"):
                    arguments = ["-m", "tests.e2e.stand_in", *arguments[1:]]
                told = {**os.environ, **variables(pod, addresses[name], server, checkpoint, folder)}
                with (folder / f"{name}.log").open("wb") as log:
                    processes[name] = subprocess.Popen([sys.executable, *arguments], env=told, stderr=log)
            yield Release(
                pods, addresses, f"dns://{server.address}/unclip-gateway-pods.pictures.svc.cluster.local.:50050"
            )
            for process in processes.values():
                process.send_signal(signal.SIGTERM)
            assert {name: process.wait(60) for name, process in processes.items()} == dict.fromkeys(processes, 0)
        finally:
            for process in processes.values():
                process.kill()
                process.wait()


def wait_for(probe: Object, address: str, log: Path) -> None:
    """Until a probe of the chart succeeds."""
    end = time.monotonic() + PATIENCE_S
    if http := probe.get("httpGet"):
        url = f"{http['scheme'].lower()}://{address}:8080{http['path']}"
        while (status := answered(url)) != 200:
            assert time.monotonic() < end, f"{status}\n{log.read_text()[-2000:]}"
            time.sleep(0.2)
        return
    asked = probe["grpc"]
    while (found := state(f"{address}:{asked['port']}", asked.get("service", ""))) != "SERVING":
        assert time.monotonic() < end, f"{found}\n{log.read_text()[-2000:]}"
        time.sleep(0.2)


def answered(url: str) -> int:
    """The status at ``url``, asked as the kubelet does: whatever the certificate says; 0 for none."""
    try:
        return httpx.get(url, verify=False).status_code
    except httpx.TransportError:
        return 0


def wait_until_ready(running: Release, folder: Path) -> None:
    """Until every probe of every pod succeeds."""
    for name, pod in running.pods.items():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            wait_for(container(pod)[probe], running.addresses[name], folder / f"{name}.log")


def test_a_release_makes_pictures(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with release(render({"stages": {"settings": {"capacity": 5}}}), tiny_checkpoint, tmp_path) as running:
        assert set(running.pods) == {"gateway", "encoder", "prior", "decoder", "upsampler"}
        wait_until_ready(running, tmp_path)
        with Client(running.target) as client:
            assert [image.seed for image in client.generate("a red apple", image_count=2, seed=7)] == [7, 8]
        for name, address in running.addresses.items():
            with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=10) as answer:
                figures = answer.read().decode()
            assert ("unclip_saturation{" in figures) == (name != "gateway")
            assert f'rpc_method="unclip.api.{"decoder" if name == "upsampler" else name}.v1.' in figures


def test_a_release_with_tls_lets_in_only_the_gateway(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """With the certificates that the chart asks cert-manager for, checked against the names that are called."""
    authority = Authority(tmp_path)
    tls = {"enabled": True, "certManager": {"enabled": True, "issuer": {"name": "ca"}}}
    objects = render({"tls": tls, "web": {"enabled": True}})
    for found in of_kind(objects, "Certificate"):
        mounted = tmp_path / component(found) / "tls"
        mounted.mkdir(parents=True)
        files = authority.issue(component(found), hosts=False, dns=found["spec"]["dnsNames"])
        for source, name in ((files.cert, "tls.crt"), (files.key, "tls.key"), (authority.ca, "ca.crt")):
            (mounted / name).write_bytes(source.read_bytes())
    with release(objects, tiny_checkpoint, tmp_path, stubbed=True) as running:
        wait_until_ready(running, tmp_path)
        assert state(f"{running.addresses['prior']}:50052") == "UNAVAILABLE"  # without TLS
        with Client(running.target, tls=Tls(str(authority.ca))) as client:
            assert [image.seed for image in client.generate("a red apple", seed=7)] == [7]
        with httpx.Client(verify=ssl.create_default_context(cafile=str(authority.ca))) as http:
            answer = http.post(
                f"https://{running.addresses['web']}:8080/v1/images/generations",
                json={"prompt": "a red apple", "response_format": "b64_json"},
                extensions={"sni_hostname": "unclip-web.pictures.svc"},
                timeout=60,
            )
        assert answer.json()["data"][0]["b64_json"]
        assert called_as("encoder", running, tmp_path) == grpc.StatusCode.PERMISSION_DENIED
        assert called_as("gateway", running, tmp_path) == grpc.StatusCode.OK


def called_as(name: str, running: Release, folder: Path) -> grpc.StatusCode:
    """How the prior answers a caller with the certificate of ``name``."""
    cert, key, ca = ((folder / name / "tls" / file).read_bytes() for file in ("tls.crt", "tls.key", "ca.crt"))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    server = ("grpc.ssl_target_name_override", "unclip-prior.pictures.svc")
    with grpc.secure_channel(f"{running.addresses['prior']}:50052", credentials, options=[server]) as channel:
        try:
            prior_pb2_grpc.PriorServiceStub(channel).GetModelInfo(prior_pb2.GetModelInfoRequest(), timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK
