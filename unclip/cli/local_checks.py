"""What ``unclip doctor`` looks at on this machine: versions, extras, memory, checkpoint."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.sources import sources
from unclip.cli.findings import Finding
from unclip.errors import CheckpointError, ConfigurationError
from unclip.extras import EXTRAS, command
from unclip.local.stack import find_checkpoint

OLDEST_PYTHON = (3, 11)
BASE = ("grpcio", "protobuf", "numpy", "pillow")
LITTLE_GIB = 2.0  # the four services with the embedded checkpoint fit into it


def local(checkpoint: Path | None) -> Iterator[Finding]:
    """Everything that needs no server. checkpoint: the folder to check, where None the one that services would take."""
    yield python()
    yield packages()
    yield from extras()
    yield memory()
    yield weights(checkpoint)


def python() -> Finding:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "fail", found, "install Python 3.11 or newer")
    return Finding("python", "ok", found)


def packages() -> Finding:
    """Unclip itself and what it cannot do without."""
    found = ", ".join(f"{name} {version(name) or 'missing'}" for name in ("unclip", *BASE))
    if "missing" in found:
        return Finding("packages", "fail", found, "pip install unclip")
    return Finding("packages", "ok", found)


def extras() -> Iterator[Finding]:
    """What can be installed on top."""
    for name, extra in EXTRAS.items():
        versions = {package: version(package) for package in extra.packages}
        found = ", ".join(f"{package} {number or 'missing'}" for package, number in versions.items())
        if all(versions.values()):
            yield Finding(f"extra {name}", "ok", found)
        elif any(versions.values()):
            yield Finding(f"extra {name}", "warn", found, f"{command(extra)} {extra.purpose}")
        else:
            yield Finding(f"extra {name}", "ok", f"not installed; needed {extra.purpose}")


def version(package: str) -> str | None:
    """The installed version, None for none. Nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """What is free."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free, whole = (int(lines[name].split()[0]) / 2**20 for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return Finding("memory", "ok", "not told by this system")
    found = f"{free:.1f} of {whole:.1f} GiB free"
    if free < LITTLE_GIB:
        return Finding("memory", "warn", found, "services may be killed here; stop something, or run them elsewhere")
    return Finding("memory", "ok", found)


def weights(chosen: Path | None) -> Finding:
    """The checkpoint and the digest of each of its files."""
    try:
        folder = chosen or find_checkpoint()
    except ConfigurationError:
        return Finding("checkpoint", "ok", "none here; only services with networks need one")
    try:
        checkpoint = Checkpoint.open(folder)
        _ = checkpoint.vocabulary
        found = sources(checkpoint)
        for name, at in found.items():
            at.verify([name])
    except CheckpointError as error:
        return Finding("checkpoint", "fail", str(error).removeprefix("checkpoint: "), "copy it again into a new folder")
    if not checkpoint.manifest:
        others = sorted({at.name for at in found.values()} - {checkpoint.name})
        beside = f" with {', '.join(others)}" if others else ""
        advice = "nothing says what its files should be; unclip convert writes a folder that does"
        return Finding("checkpoint", "warn", f"{folder}{beside}: complete, but there is no unclip.json", advice)
    return Finding("checkpoint", "ok", f"{folder}: {checkpoint.name}, every file listed, all digests as recorded")
