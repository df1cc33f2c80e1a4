"""compose.yaml, read by Docker Compose itself, with and without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.settings_schema import SERVICES
from tests.deploy.chart import ROOT
from tests.deploy.rules import HEALTH
from unclip.serving.settings import parse

COMPOSE = Path(sys.executable).with_name("docker-compose")
FILES = {"cpu": ["compose.yaml"], "gpu": ["compose.yaml", "compose.gpu.yaml"]}
Service = dict[str, Any]


def read(*files: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What ``docker compose config`` makes of files in deploy/."""
    flags = [part for file in files for part in ("--file", file)]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    command = [str(COMPOSE), *flags, "config", "--format", "json"]
    return subprocess.run(command, cwd=ROOT / "deploy", capture_output=True, text=True, env={**kept, **variables})


@cache
def text(kind: str) -> str:
    result = read(*FILES[kind])
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def services(kind: str) -> dict[str, Service]:
    return dict(json.loads(text(kind))["services"])


def seconds(duration: str) -> float:
    """Of a Go duration such as 5m20s."""
    total, number = 0.0, ""
    for letter in duration:
        if letter.isdigit() or letter == ".":
            number += letter
        else:
            total, number = total + float(number) * {"h": 3600, "m": 60, "s": 1}[letter], ""
    return total


def test_compose_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text("services: {a: {image: b, read_olny: true}}")
    assert "read_olny" in read(str(broken)).stderr


@pytest.mark.parametrize("kind", FILES)
def test_every_service_is_there_with_settings_that_it_knows(kind: str) -> None:
    found = services(kind)
    assert set(found) == set(SERVICES)
    for name, service in found.items():
        cls = SERVICES[name]
        [module] = service["command"]
        assert cls.__module__ == f"{module}.settings"
        assert {
            v for v in service["environment"] if v.removeprefix("UNCLIP_").lower() not in cls.__dataclass_fields__
        } == (set())
        settings = parse(cls, [], name, service["environment"])
        assert settings.grace >= settings.max_deadline
        assert seconds(service["stop_grace_period"]) > settings.drain + settings.grace
        port, health = service["healthcheck"]["test"][-2:]
        assert (port, health) == (f"127.0.0.1:{settings.port}", HEALTH[name])


@pytest.mark.parametrize("kind", FILES)
def test_the_gateway_finds_the_stages_and_waits_for_them(kind: str) -> None:
    found = services(kind)
    gateway = found["gateway"]
    for stage in set(SERVICES) - {"gateway"}:
        host, _, port = gateway["environment"][f"UNCLIP_{stage.upper()}"].partition(":")
        assert (host, port) == (stage, found[stage]["environment"]["UNCLIP_PORT"])
        assert gateway["depends_on"][stage]["condition"] == "service_healthy"
        assert set(found[stage]["networks"]) & set(gateway["networks"])
    assert found["decoder"]["environment"]["UNCLIP_STAGES"] == "decode"
    assert found["upsampler"]["environment"]["UNCLIP_STAGES"] == "upsample"


@pytest.mark.parametrize("kind", FILES)
def test_only_the_gateway_can_be_reached_and_only_from_this_machine(kind: str) -> None:
    assert json.loads(text(kind))["networks"]["stages"]["internal"] is True
    for name, service in services(kind).items():
        addresses = [port["host_ip"] for port in service.get("ports", [])]
        assert addresses == (["127.0.0.1"] if name == "gateway" else [])
        assert name == "gateway" or set(service["networks"]) == {"stages"}


@pytest.mark.parametrize("kind", FILES)
def test_containers_are_confined(kind: str) -> None:
    for service in services(kind).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {place.partition(":")[0] for place in service["tmpfs"]} == {"/tmp", "/var/cache/unclip"}
        assert all(volume["read_only"] for volume in service.get("volumes", []))
        assert "mem_limit" in service
        assert service["image"].rpartition(":")[2] not in ("", "latest")


@pytest.mark.parametrize("kind", FILES)
def test_nothing_is_asked_for_that_podman_does_not_know(kind: str) -> None:
    """It takes no user for a tmpfs, and no health check that is more frequent in the beginning."""
    for service in services(kind).values():
        assert not any("uid=" in place or "gid=" in place for place in service["tmpfs"])
        assert "start_interval" not in service["healthcheck"]
        assert all("mode=1777" in place for place in service["tmpfs"])  # for whichever user


def test_the_stages_and_only_they_get_the_gpu() -> None:
    for name, service in services("gpu").items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        on_gpu = name != "gateway"
        assert [device["capabilities"] for device in devices] == ([["gpu"]] if on_gpu else [])
        assert service["environment"].get("UNCLIP_DEVICE") == ("cuda" if on_gpu else None)
        assert service["image"].endswith("-cuda") == on_gpu
    assert not any("deploy" in service for service in services("cpu").values())


def test_a_checkpoint_and_an_index_can_be_chosen(tmp_path: Path) -> None:
    found = json.loads(read("compose.yaml", CHECKPOINT=str(tmp_path), TORCH_INDEX="https://wheels.example.com").stdout)
    prior = found["services"]["prior"]
    assert prior["volumes"][0]["source"] == str(tmp_path)
    assert prior["volumes"][0]["target"] == prior["environment"]["UNCLIP_CHECKPOINT"]
    assert prior["build"]["args"] == {"TORCH_INDEX": "https://wheels.example.com"}


def test_images_are_built_from_targets_that_there_are() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for service in services("cpu").values():
        build = service["build"]
        assert (Path(build["context"]) / build["dockerfile"]).samefile(ROOT / "deploy" / "Dockerfile")
        assert f" AS {build['target']}\n" in dockerfile
        assert all(f"ARG {argument}=" in dockerfile for argument in build.get("args") or {})
