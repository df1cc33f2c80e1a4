"""Writes a software bill of materials (CycloneDX) of what each image installs with pip, from its lock.

``python -m deploy.sbom`` fills out/sbom. The base image's own packages are not in it: ask its maker, or a scanner of
images, for those.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.lock import FOLDER, ROOT

LOCKS: Mapping[str, Sequence[str]] = {
    "gateway": ["gateway.txt"],
    "model-cpu": ["model.txt", "torch.txt"],
    "model-cuda": ["model.txt", "torch-cuda.txt"],
}


def write(image: str, folder: Path) -> Path:
    """Writes the bill of one image as ``folder/<image>.cdx.json``."""
    file = folder / f"{image}.cdx.json"
    lines = "".join((FOLDER / lock).read_text() for lock in LOCKS[image])
    flags = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--output-file", str(file)]
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "-", *flags]
    subprocess.run(command, input=lines, text=True, check=True)
    return file


def main() -> None:
    """Writes all of them."""
    folder = ROOT / "out" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    for image in LOCKS:
        print(write(image, folder))


if __name__ == "__main__":
    main()
