"""The services as the chart starts them: its commands and variables, its probes, its ports, on loopback addresses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.drill.names import NameServer
from tests.unit.deploy_chart import Object, component, container, environment, of_kind, render
from unclip import Client
from unclip.probe import state

PATIENCE_S = 120.0


def address_of(number: int) -> str:
    """A loopback address that no other run of the tests uses, in place of a pod's."""
    process = os.getpid()
    return f"127.{64 + process // 256 % 64}.{process % 256}.{number}"


def names(objects: list[Object], addresses: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What the cluster's DNS would answer for headless Services."""
    return {
        f"{found['metadata']['name']}.{found['metadata']['namespace']}.svc": (addresses[component(found)],)
        for found in of_kind(objects, "Service")
        if found["spec"].get("clusterIP") == "None"
    }


def variables(pod: Object, own: str, server: NameServer, checkpoint: Path) -> dict[str, str]:
    """A pod's variables, with a loopback address for the pod's, a name server for the cluster's, and tiny weights."""
    found = {name: value.replace("0.0.0.0", own) for name, value in environment(pod).items()}
    found = {name: value.replace("dns:///", f"dns://{server.address}/") for name, value in found.items()}
    if "UNCLIP_CHECKPOINT" in found:
        found["UNCLIP_CHECKPOINT"] = str(checkpoint)
    return {**found, "UNCLIP_DRAIN": "0"}  # nobody here looks elsewhere


@contextmanager
def release(objects: list[Object], checkpoint: Path, logs: Path) -> Iterator[dict[str, tuple[Object, str]]]:
    """The Deployments of a release as processes: each service's pod and address. Ends them with SIGTERM, all to 0."""
    pods = {component(found): found["spec"]["template"] for found in of_kind(objects, "Deployment")}
    addresses = {name: address_of(number) for number, name in enumerate(pods, 2)}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with NameServer() as server:
        server.records = names(objects, addresses)
        try:
            for name, pod in pods.items():
                _, *arguments = container(pod)["command"]
                told = {**os.environ, **variables(pod, addresses[name], server, checkpoint)}
                with (logs / f"{name}.log").open("wb") as log:
                    processes[name] = subprocess.Popen([sys.executable, *arguments], env=told, stderr=log)
            yield {name: (pods[name], addresses[name]) for name in pods}
            for process in processes.values():
                process.send_signal(signal.SIGTERM)
            assert {name: process.wait(60) for name, process in processes.items()} == dict.fromkeys(processes, 0)
        finally:
            for process in processes.values():
                process.kill()
                process.wait()


def wait_for(probe: Object, address: str, log: Path) -> None:
    """Until a probe of the chart succeeds."""
    asked, end = probe["grpc"], time.monotonic() + PATIENCE_S
    while (found := state(f"{address}:{asked['port']}", asked.get("service", ""))) != "SERVING":
        assert time.monotonic() < end, f"{found}\n{log.read_text()[-2000:]}"
        time.sleep(0.2)


def test_a_release_makes_pictures(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with release(render({"stages": {"settings": {"capacity": 5}}}), tiny_checkpoint, tmp_path) as services:
        assert set(services) == {"gateway", "encoder", "prior", "decoder", "upsampler"}
        for name, (pod, address) in services.items():
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                wait_for(container(pod)[probe], address, tmp_path / f"{name}.log")
        with Client(f"{services['gateway'][1]}:50050") as client:
            assert [image.seed for image in client.generate("a red apple", image_count=2, seed=7)] == [7, 8]
        for name, (_, address) in services.items():
            with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=10) as answer:
                figures = answer.read().decode()
            assert ("unclip_saturation{" in figures) == (name != "gateway")
            assert f'rpc_method="unclip.api.{"decoder" if name == "upsampler" else name}.v1.' in figures
