"""Generates `unclip/api` from `protos`: messages, gRPC stubs and their types. Run by `make protos`.

No import rewriting is needed, since the proto path equals the Python path.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = '"""Generated from protos/ by `make protos`; never edited by hand."""\n'


def generate(destination: Path) -> None:
    """Writes the whole of `unclip/api` below ``destination`` (the folder that holds `unclip`)."""
    protos = ROOT / "protos"
    files = sorted(path.relative_to(protos) for path in protos.rglob("*.proto"))
    services = [path for path in files if "\nservice " in (protos / path).read_text()]
    destination.mkdir(parents=True, exist_ok=True)
    _protoc(protos, destination, ("python", "mypy"), files)
    _protoc(protos, destination, ("grpc_python", "mypy_grpc"), services)
    api = destination / "unclip" / "api"
    for folder in [api, *(path for path in api.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        (folder / "__init__.py").write_text(HEADER)


def _protoc(protos: Path, destination: Path, outputs: tuple[str, ...], files: list[Path]) -> None:
    scripts = Path(sys.executable).parent
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}"]
    command += [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    command += [f"--{name}_out={'quiet:' if 'mypy' in name else ''}{destination}" for name in outputs]
    subprocess.run([*command, *map(str, files)], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
