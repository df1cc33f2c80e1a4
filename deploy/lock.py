"""Locks what the images install: every package by exact version and by the digests of its files.

``python -m deploy.lock`` writes deploy/requirements. Versions are those of the environment it runs in, which are the
ones that the tests ran with. torch stands apart: its CPU build has the same version as the CUDA build, comes from an
index of its own and has digests of its own, so that one file cannot lock both. ``torch-cuda.txt`` locks the build of
the default index with the libraries that only it needs; ``torch.txt`` names the version alone.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "requirements"
SERVICES = ROOT / "deploy" / "services"
HEADER = "# Made by `make lock` for Python 3.11 on Linux, x86-64; do not edit.\n"
# What each image has beside the base; an extra that pyproject.toml does not have is left out.
EXTRAS = {"gateway": ["server", "web", "otel", "c2pa"], "model": ["server", "model", "triton", "otel"]}
OURS = ("unclip", "unclip-services")
ONLY_CUDA = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")
LOCAL = re.compile(r"\+\w+$")  # "+cpu" of a version


def project(folder: Path = ROOT) -> dict[str, object]:
    """pyproject.toml of what clients install, or of the distribution in ``folder``."""
    return tomllib.loads((folder / "pyproject.toml").read_text())


def extras_of(image: str) -> list[str]:
    """Extras of the package that an image has."""
    known = project()["project"]["optional-dependencies"]  # type: ignore[index]
    return [extra for extra in EXTRAS[image] if extra in known]


def installed() -> list[str]:
    """``name==version`` of everything in this environment, as constraints."""
    found = importlib.metadata.distributions()
    pins = {each.metadata["Name"]: LOCAL.sub("", each.version) for each in found}
    return [f"{name}=={version}" for name, version in sorted(pins.items()) if name not in OURS]


def resolve(requirements: str, extras: Iterable[str], constraints: Sequence[str]) -> list[str]:
    """One block of lines for each package that ``requirements``, a file, needs: its pin, then its digests."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        flags = ["--generate-hashes", "--no-annotate", "--no-header", "--quiet", "--python-version", "3.11"]
        command = [sys.executable, "-m", "uv", "pip", "compile", requirements, *flags]
        command += ["--python-platform", "x86_64-manylinux_2_28", "--constraint", file.name]
        command += [f"--extra={extra}" for extra in extras]
        text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return re.findall(r"^\S.*(?:\n\s.*)*", text, re.MULTILINE)


def write(name: str, blocks: Iterable[str]) -> None:
    """Writes one file of requirements."""
    (FOLDER / name).write_text(HEADER + "".join(f"{block}\n" for block in blocks))


def main() -> None:
    """Writes all of them."""
    pins = installed()
    build = project()["build-system"]["requires"]  # type: ignore[index]
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write("\n".join(build))
        file.flush()
        write("build.txt", resolve(file.name, [], []))  # not what happens to be installed here: nothing depends on it
    write("gateway.txt", resolve("pyproject.toml", extras_of("gateway"), pins))
    model = resolve("pyproject.toml", extras_of("model"), pins)
    cuda = [block for block in model if ONLY_CUDA.match(block)]
    write("model.txt", [block for block in model if block not in cuda])
    write("torch-cuda.txt", cuda)
    [torch] = [block.split()[0] for block in cuda if block.startswith("torch==")]
    write("torch.txt", [torch])


if __name__ == "__main__":
    main()
