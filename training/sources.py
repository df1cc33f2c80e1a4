"""Where the pictures come from: pinned packages, their licences, and how each names its pictures."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MANIFEST = Path(__file__).with_name("sources.json")
CACHE = Path("out/data/packages")


@dataclass(frozen=True)
class Source:
    """One package: its exact version, the npm integrity of its archive, its licence, and the style it draws in."""

    package: str
    version: str
    integrity: str
    license: str
    attribution: str
    style: str

    @property
    def archive(self) -> Path:
        """Where the archive lies once fetched."""
        return CACHE / f"{self.package.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def specifier(self) -> str:
        """What npm calls this exact package."""
        return f"{self.package}@{self.version}"


def manifest() -> list[Source]:
    """Every source, in the manifest's order."""
    return [Source(**entry) for entry in json.loads(MANIFEST.read_text())]


def integrity_of(path: Path) -> str:
    """npm's integrity string of a file: ``sha512-`` and the base64 of the digest."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def fetch(source: Source) -> Path:
    """Fetches the archive unless it is there, and checks it.

    Raises:
        RuntimeError: npm is missing or failed, or the archive is not the one the manifest names.
    """
    if not source.archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError("npm is needed to fetch the training pictures; install Node.js")
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "pack", "--silent", source.specifier], cwd=CACHE, check=True, capture_output=True)
    found = integrity_of(source.archive)
    if found != source.integrity:
        raise RuntimeError(
            f"{source.archive}: integrity is {found}, the manifest says {source.integrity}; "
            "without the file it is fetched again"
        )
    return source.archive


@cache
def members(archive: Path) -> dict[str, bytes]:
    """Every file of an archive by its path inside ``package/``."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            handle = tar.extractfile(member) if member.isfile() else None
            if handle is not None:
                found[member.name.removeprefix("package/")] = handle.read()
    return found


def load_json(source: Source, name: str) -> Any:
    """One JSON file of a source; an empty object where the package has none."""
    return json.loads(members(fetch(source)).get(name, b"{}"))
