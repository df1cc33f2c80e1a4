"""Writes software bills of materials (CycloneDX) into out/sbom.

``python -m deploy.sbom``: of what each image installs with pip, from its lock; before there are images.
``docker export CONTAINER | python -m deploy.sbom --image NAME``: of a built image, from its files on standard input:
the Python packages and Debian packages that are in it, whatever put them there. ``make sbom IMAGES=NAME`` does both.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Any

from deploy.lock import FOLDER, ROOT

OUT = ROOT / "out" / "sbom"
LOCKS: Mapping[str, Sequence[str]] = {
    "gateway": ["gateway.txt"],
    "model-cpu": ["model.txt", "torch.txt"],
    "model-cuda": ["model.txt", "torch-cuda.txt"],
}
PYTHON = re.compile(r"(?:\./)?(?P<place>.*\.(?:dist-info/METADATA|egg-info/PKG-INFO))")
DEBIAN = re.compile(r"(?:\./)?var/lib/dpkg/status(?:\.d/[^/]+(?<!\.md5sums))?")  # one file, or one for each package
Component = dict[str, Any]


def write(image: str, folder: Path) -> Path:
    """Writes the bill of one image's lock as ``folder/<image>.cdx.json``."""
    file = folder / f"{image}.cdx.json"
    lines = "".join((FOLDER / lock).read_text() for lock in LOCKS[image])
    flags = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--output-file", str(file)]
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "-", *flags]
    subprocess.run(command, input=lines, text=True, check=True)
    return file


def found_in(files: IO[bytes]) -> Iterator[Component]:
    """The packages in a tar archive of an image's files, Python's and Debian's, as CycloneDX has them."""
    with tarfile.open(fileobj=files, mode="r|*") as archive:
        for member in archive:
            python, debian = PYTHON.fullmatch(member.name), DEBIAN.fullmatch(member.name)
            content = archive.extractfile(member) if (python or debian) and member.isfile() else None
            if content is None:
                continue
            text = content.read().decode("utf-8", "replace")
            if python:
                headers = HeaderParser().parsestr(text)
                yield component("pypi", headers["Name"], headers["Version"], python["place"])
            else:
                for block in text.split("\n\n"):
                    fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", block, re.MULTILINE))
                    if "installed" in fields.get("Status", "install ok installed").split() and "Package" in fields:
                        yield component("deb/debian", fields["Package"], fields["Version"], "")


def component(kind: str, name: str, version: str, place: str) -> Component:
    """One package. kind: of a package URL. place: where in the image it was found; empty for all over it."""
    known = re.sub(r"[-_.]+", "-", name).lower() if kind == "pypi" else name
    url = f"pkg:{kind}/{known}@{version.replace('+', '%2B').replace(':', '%3A')}"
    evidence = {"evidence": {"occurrences": [{"location": place}]}} if place else {}
    return {"type": "library", "bom-ref": f"{url}#{place}", "name": name, "version": version, "purl": url, **evidence}


def bill(image: str, components: Sequence[Component]) -> dict[str, Any]:
    """The whole of it, the same for the same image."""
    ordered = sorted(components, key=lambda each: str(each["bom-ref"]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image, "name": image}},
        "components": ordered,
    }


def main(arguments: Sequence[str] | None = None, files: IO[bytes] | None = None) -> None:
    """Writes those of the locks, or that of the image whose ``files`` come on standard input."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sbom", description=__doc__)
    parser.add_argument("--image", help="name of a built image, whose files come as a tar archive")
    image = parser.parse_args(arguments).image
    OUT.mkdir(parents=True, exist_ok=True)
    if image is None:
        for name in LOCKS:
            print(write(name, OUT))
        return
    file = OUT / f"{re.sub(r'[^A-Za-z0-9.]+', '-', image)}.image.cdx.json"
    file.write_text(json.dumps(bill(image, list(found_in(files or sys.stdin.buffer))), indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
