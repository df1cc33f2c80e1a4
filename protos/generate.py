"""Generates `unclip/api` and `unclip/sampler_names.py` from `protos`. Run by `make protos`.

No import rewriting is needed, since the proto path equals the Python path.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = '"""Generated from protos/ by `make protos`; never edited by hand."""\n'
SAMPLER = re.compile(r"^ *SAMPLER_(\w+) = [1-9]", re.MULTILINE)


def generate(destination: Path) -> None:
    """Writes all of it below ``destination`` (the folder that holds `unclip`)."""
    protos = ROOT / "protos"
    files = sorted(path.relative_to(protos) for path in protos.rglob("*.proto"))
    services = [path for path in files if "\nservice " in (protos / path).read_text()]
    destination.mkdir(parents=True, exist_ok=True)
    _protoc(protos, destination, ("python", "mypy"), files)
    _protoc(protos, destination, ("grpc_python", "mypy_grpc"), services)
    api = destination / "unclip" / "api"
    for folder in [api, *(path for path in api.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        (folder / "__init__.py").write_text(HEADER)
    contract = (protos / "unclip/api/type/v1/sampling.proto").read_text()
    (destination / "unclip" / "sampler_names.py").write_text(_sampler_names(SAMPLER.findall(contract)))


def _sampler_names(values: list[str]) -> str:
    """A module with the names of the contract's samplers, in its order, as papers write them: DPMPP_2M is dpm++2m."""
    names = "".join(f'    "{value.lower().replace("pp_", "++")}",\n' for value in values)
    return f"{HEADER}\nfrom typing import Literal\n\nSamplerName = Literal[\n{names}]\n"


def _protoc(protos: Path, destination: Path, outputs: tuple[str, ...], files: list[Path]) -> None:
    scripts = Path(sys.executable).parent
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}"]
    command += [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    command += [f"--{name}_out={'quiet:' if 'mypy' in name else ''}{destination}" for name in outputs]
    subprocess.run([*command, *map(str, files)], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
