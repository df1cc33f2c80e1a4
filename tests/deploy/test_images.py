"""The Dockerfile, and the locks of what images install."""

from __future__ import annotations

import importlib.metadata
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy import lock, sbom
from tests.deploy.chart import ROOT
from tests.deploy.variants import examples

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) ?(?:\\\n|$)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
# Of the images, whatever this machine is.
IMAGE: dict[str, Any] = {
    **default_environment(),
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
FILES = {"gateway": ["gateway"], "model": ["model", "torch-cuda"]}


def pins(name: str) -> dict[str, Version]:
    text = (lock.FOLDER / f"{name}.txt").read_text()
    return {str(canonicalize_name(found)): Version(version) for found, version in PIN.findall(text)}


def locked(image: str) -> dict[str, Version]:
    """Everything that an image installs, with CUDA."""
    return {name: version for file in FILES[image] for name, version in pins(file).items()}


def asked(image: str) -> list[Requirement]:
    """What pyproject.toml asks for in an image."""
    project = lock.project()["project"]
    assert isinstance(project, dict)
    lines = list(project["dependencies"])
    for extra in lock.extras_of(image):
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def unmet(requirements: list[Requirement], versions: dict[str, Version]) -> list[str]:
    """The requirements that hold in images and that ``versions`` do not satisfy."""
    lines = []
    for each in requirements:
        if each.marker is None or each.marker.evaluate({**IMAGE, "extra": ""}):
            version = versions.get(canonicalize_name(each.name))
            if version is None or version not in each.specifier:
                lines.append(f"{each} (locked: {version})")
    return lines


@pytest.mark.parametrize("image", FILES)
def test_the_lock_has_what_the_package_asks_for(image: str) -> None:
    assert unmet(asked(image), locked(image)) == [], "run `make lock`"


@pytest.mark.parametrize("image", FILES)
def test_the_lock_has_what_its_packages_ask_for(image: str) -> None:
    """As far as they are installed here in the locked version: they are, unless the lock is old."""
    versions, looked = locked(image), 0
    for name, version in versions.items():
        try:
            here = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(here.version) == version:
            looked += 1
            assert (name, unmet([Requirement(line) for line in here.requires or []], versions)) == (name, [])
    assert looked


def test_images_that_are_loaded_into_a_laptops_cluster_were_built_under_that_name() -> None:
    told = (ROOT / "docs" / "deploy.md").read_text()
    [loaded] = re.findall(r"^kind load docker-image (.+)$", told, re.MULTILINE)
    assert set(loaded.split()) <= set(re.findall(r"-t (\S+) \.$", told, re.MULTILINE))


def test_examples_look_for_weights_where_the_image_has_them() -> None:
    """The target `weights` is a checkpoint's folder as the image's root."""
    assert "COPY ${CHECKPOINT} /" in (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    images = [values["weights"] for values in examples().values() if values.get("weights", {}).get("source") == "image"]
    assert [weights for weights in images if not weights.get("folder")] == images != []


def test_an_unmet_requirement_is_noticed() -> None:
    versions = locked("gateway")
    lines = ["grpcio>=99", "torch", "tomli; python_version < '3.11'", "numpy"]
    assert unmet([Requirement(line) for line in lines], versions) == [
        f"grpcio>=99 (locked: {versions['grpcio']})",
        "torch (locked: None)",
    ]


@pytest.mark.parametrize("name", ["build", "gateway", "model", "torch-cuda"])
def test_every_locked_package_has_digests(name: str) -> None:
    text = (lock.FOLDER / f"{name}.txt").read_text()
    blocks = re.findall(r"^[A-Za-z].*(?:\n\s.*)*", text, re.MULTILINE)
    assert len(blocks) == len(pins(name)) > 0
    assert [block.partition(" ")[0] for block in blocks if not HASH.search(block)] == []
    assert "://" not in text


def test_the_gateway_has_no_torch_and_torch_is_locked_apart() -> None:
    assert not {"torch", "transformers", "diffusers"} & set(locked("gateway"))
    assert "torch" not in pins("model")
    assert pins("torch") == {"torch": pins("torch-cuda")["torch"]}
    makefile = (ROOT / "Makefile").read_text()
    assert f"torch=={pins('torch')['torch']}\n" in makefile


def test_both_images_speak_the_same_versions() -> None:
    gateway, model = locked("gateway"), locked("model")
    assert {name: version for name, version in gateway.items() if model.get(name, version) != version} == {}


def test_the_build_backend_is_locked() -> None:
    build = lock.project()["build-system"]
    assert isinstance(build, dict)
    assert unmet([Requirement(line) for line in build["requires"]], pins("build")) == []


def test_a_bill_of_materials_lists_every_locked_package(tmp_path: Path) -> None:
    bill = json.loads(sbom.write("model-cuda", tmp_path).read_text())
    listed = {canonicalize_name(each["name"]): Version(each["version"]) for each in bill["components"]}
    assert listed == locked("model")
    assert bill["metadata"]["component"]["name"] == "unclip"


def test_hadolint_has_nothing_to_say() -> None:
    result = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def files_of_an_image() -> bytes:
    """A tar archive as ``docker export`` writes one."""
    packed = io.BytesIO()
    site = "opt/unclip/venv/lib/python3.11/site-packages"
    status = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\nPackage: gone\nStatus: deinstall ok x\n"
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in (
            (
                f"{site}/torch-2.13.0+cpu.dist-info/METADATA",
                "Metadata-Version: 2.4\nName: torch\nVersion: 2.13.0+cpu\n\nx: y",
            ),
            (f"{site}/Typing_Extensions-4.0.dist-info/METADATA", "Name: Typing_Extensions\nVersion: 4.0\n"),
            (f"{site}/torch/METADATA", "Name: none\nVersion: 1\n"),
            ("var/lib/dpkg/status", status),
            ("usr/share/doc/status", status),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def test_a_bill_of_an_image_lists_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "OUT", tmp_path)
    sbom.main(["--image", "unclip-model:0.1.0-cpu"], io.BytesIO(files_of_an_image()))
    text = (tmp_path / "unclip-model-0.1.0-cpu.image.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert [each["purl"] for each in json.loads(text)["components"]] == [
        "pkg:deb/debian/libc6@2.36-9",
        "pkg:pypi/torch@2.13.0%2Bcpu",
        "pkg:pypi/typing-extensions@4.0",
    ]


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = sorted((ROOT / "deploy").glob("*.sh"))
    assert [script.name for script in scripts] == ["kind.sh", "sbom-image.sh"]
    result = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_shellcheck_looks(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("#!/bin/sh\nrm -rf $1/x\n")
    result = subprocess.run([SHELLCHECK, tmp_path / "a.sh"], capture_output=True, text=True)
    assert "SC2086" in result.stdout


def test_hadolint_looks(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /tmp && pip install requests\n")
    result = subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert result.returncode != 0
    assert {"DL3007", "DL3013"} <= set(re.findall(r"DL\d+", result.stdout))


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile by name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return {
        name: f"FROM {base}\n{text}" for base, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


def test_images_end_as_a_user_that_is_not_root() -> None:
    for image in ("gateway", "model"):
        assert re.findall(r"^USER (.*)$", stages()[image], re.MULTILINE) == ["10001:10001"]
        assert not re.search(r"^RUN", stages()[image].partition("USER")[2], re.MULTILINE)


def test_everything_is_installed_from_a_lock_or_by_exact_version() -> None:
    lines = re.findall(r"\bpip (?:--python \S+ )?install .*", DOCKERFILE.read_text())
    assert len(lines) == 6
    for line in lines:
        from_lock = "--require-hashes --no-deps -r " in line
        exact_torch = "--no-deps" in line and "-r requirements/torch.txt" in line
        own_wheel = "--no-deps --no-index /wheels/" in line
        assert from_lock or exact_torch or own_wheel, line


@pytest.mark.parametrize("image", ["gateway", "model"])
def test_what_changes_seldom_is_a_layer_before_what_changes_often(image: str) -> None:
    """Dependencies are installed before any source comes, and ourselves last: a changed line makes one layer anew."""
    found = stages()
    chain = [image]
    while chain[-1] in found and (below := found[chain[-1]].split()[1]) in found:
        chain.append(below)
    dependencies = {"gateway": ["gateway-dependencies"], "model": ["model-dependencies", "torch"]}[image]
    assert chain == [image, *dependencies, "base"]
    for stage in [*dependencies, "base"]:
        sources = re.findall(r"^COPY (.*) \S+$", found[stage], re.MULTILINE)
        assert all(source.startswith("deploy/requirements/") for line in sources for source in line.split())
        assert stage == "base" or "--mount=type=cache,target=/root/.cache/pip" in found[stage]
    assert re.findall(r"^(?:COPY|RUN|ADD) (.*)$", found[image], re.MULTILINE)[-1] == "--from=application /layer/ /"
    sources = re.findall(r"^COPY (.*) \S+$", found["build"], re.MULTILINE)
    assert sources == ["deploy/requirements/build.txt"]


def test_no_image_can_install_anything() -> None:
    base = stages()["base"]
    assert "pip uninstall --yes" in base
    assert "ensurepip" in base
    assert re.findall(r"-m venv (?!--without-pip)\S+", base) == []
    for name in ("torch", "model-dependencies", "gateway-dependencies"):  # theirs is lent
        assert "--mount=type=bind,from=build,source=/pip,target=/pip" in stages()[name]
    assert "-m venv --without-pip /opt/unclip/venv" in stages()["build"]


def test_images_run_as_any_user_of_group_0() -> None:
    assert "install --directory --owner=10001 --group=0 --mode=0770 /var/cache/unclip" in stages()["base"]


def test_the_version_is_the_packages() -> None:
    project = lock.project()["project"]
    assert isinstance(project, dict)
    assert set(re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)) == {project["version"]}


def test_what_is_copied_is_there_and_let_in() -> None:
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
        if not source.startswith("$")
    ]
    assert len(sources) > 5
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == place or source.startswith(f"{place}/") for place in let_in), source
    assert all((ROOT / place).exists() for place in let_in)


def test_every_package_of_the_distributions_is_copied() -> None:
    projects = [ROOT / "pyproject.toml", ROOT / "deploy" / "services" / "pyproject.toml"]
    tops = [re.findall(r"^include = \[(.*)\]$", each.read_text(), re.MULTILINE)[0] for each in projects]
    packages = [re.findall(r'"(\w+)\*"', top) for top in tops]
    assert packages == [["unclip"], ["gateway", "encoder_svc", "prior_svc", "decoder_svc"]]
    for package in (name for names in packages for name in names):
        assert f"COPY {package} {package}\n" in stages()["application"]


def test_the_services_are_of_the_version_of_what_they_share() -> None:
    project, services = lock.project()["project"], lock.project(lock.SERVICES)["project"]
    assert isinstance(project, dict)
    assert isinstance(services, dict)
    assert services["version"] == project["version"]
    assert services["dependencies"] == [f"unclip[server]=={project['version']}"]


def test_the_checkpoint_lies_where_the_chart_and_the_settings_look_for_it() -> None:
    assert "COPY checkpoints/emoji checkpoints/emoji\n" in stages()["model"]
    assert "WORKDIR /opt/unclip\n" in stages()["base"]
