"""Generates `unclip/api` and `unclip/enum_names.py` from `protos`, the blocking client, and what the studio's page
knows of the contract. Run by `make protos`.

`unclip/api` has messages, gRPC stubs, their types, and a descriptor set of all contracts for tools that read no .proto.
No import rewriting is needed, since the proto path equals the Python path.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTORS = "descriptors.binpb"
HEADER = '"""Generated from protos/ by `make protos`; never edited by hand."""\n'
# The contract's enums whose values people name, and the type of those names. A name is the value's own without what all
# of them begin with, in small letters, but where the field writes it otherwise.
NAMED = {
    "ImageFormat": "FileFormat",
    "Fit": "Fit",
    "NoticeKind": "NoticeKind",
    "Quality": "Quality",
    "Sampler": "SamplerName",
    "Stage": "StageName",
    "Start": "Start",
}
PAGE = Path("unclip", "web", "studio", "page", "js", "contract.js")
OTHERWISE = {"center_crop": "crop", "dpmpp_2m": "dpm++2m"}

# What makes the blocking client of the asyncio one, which are the same but for the await: pattern and replacement, in
# this order. Each must be found, so that none outlives what it is for.
UNASYNC = (
    (
        r'\A""".*?"""',
        '"""The blocking client of the gateway. Generated from aio.py by `make protos`; never edited by hand."""',
    ),
    (
        r"Calls a gateway from asyncio; one client may be shared by tasks",
        "Calls a gateway and waits; threads may share one",
    ),
    (r"Cancelling the task.*?another loop\.", "The channel is opened by the first call."),
    (r": leave the loop through ``contextlib\.aclosing``", ""),
    (r"Coroutine\[Any, Any, (.*?\])\]", r"\1"),
    (r"AsyncGenerator, Callable, Coroutine, ", "Callable, Generator, "),
    (r"asyncio\.to_thread\((\w+), ", r"\1("),
    (r", asyncio\.get_running_loop", ""),
    (r"import asyncio\n", ""),
    (r"AsyncGenerator", "Generator"),
    (r"aclosing", "closing"),
    (r"AsyncClient", "Client"),
    (r"grpc\.aio\.Channel", "grpc.Channel"),
    (r"open_channel", "open_sync_channel"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\b(?:async|await) ", ""),
)


def generate(destination: Path) -> None:
    """Writes all of it below ``destination`` (the folder that holds `unclip`)."""
    protos = ROOT / "protos"
    files = sorted(path.relative_to(protos) for path in protos.rglob("*.proto"))
    services = [path for path in files if "\nservice " in (protos / path).read_text()]
    destination.mkdir(parents=True, exist_ok=True)
    _protoc(protos, _outputs(destination, "python", "mypy"), files)
    _protoc(protos, _outputs(destination, "grpc_python", "mypy_grpc"), services)
    api = destination / "unclip" / "api"
    _protoc(protos, [f"--descriptor_set_out={api / DESCRIPTORS}", "--include_imports"], files)
    for folder in [api, *(path for path in api.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        (folder / "__init__.py").write_text(HEADER)
    contracts = "".join((protos / path).read_text() for path in files)
    (destination / "unclip" / "enum_names.py").write_text(_enum_names(contracts))
    client = Path("unclip", "client", "blocking.py")
    (destination / client).parent.mkdir(exist_ok=True)
    (destination / client).write_text(_blocking((ROOT / client.with_name("aio.py")).read_text()))
    page = destination / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page_module(contracts))


def _blocking(source: str) -> str:
    """The blocking client's source from the asyncio client's."""
    for pattern, replacement in UNASYNC:
        source, count = re.subn(pattern, replacement, source, flags=re.DOTALL)
        if not count:
            raise ValueError(f"the asyncio client no longer has {pattern!r}")
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "blocking.py", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def _enum_names(contracts: str) -> str:
    """A module with the names of the values of each enum in NAMED, in the contract's order, as a Literal."""
    text = f"{HEADER}\nfrom typing import Literal\n"
    for enum, literal in NAMED.items():
        first, *values = _values_of(enum, contracts)
        short = [value.removeprefix(first.removesuffix("UNSPECIFIED")).lower() for value in values]
        names = [f'"{OTHERWISE.get(name, name)}"' for name in short]
        inside = names[0] if len(names) == 1 else "".join(f"\n    {name}," for name in names) + "\n"  # as ruff has it
        text += f"\n{literal} = Literal[{inside}]\n"
    return text


def _values_of(enum: str, contracts: str) -> list[str]:
    """The values of an enum of the contracts, in their order; what is not specified is the first."""
    [body] = re.findall(rf"^enum {enum} {{(.*?)^}}", contracts, re.MULTILINE | re.DOTALL)
    return re.findall(r"^  (\w+) = \d+;", body, re.MULTILINE)


def _page_module(contracts: str) -> str:
    """A module of the page with the samplers and qualities there are, and the limits that gateways hold numbers to."""
    limits = runpy.run_path(str(ROOT / "unclip" / "wire" / "limits.py"))
    ranges = {
        re.sub(r"_(\w)", lambda found: found[1].upper(), name): {"min": low, "max": high}
        for name, (low, high) in limits["RANGES"].items()
    }
    options = (ROOT / "unclip" / "options.py").read_text()  # which itself needs generated code
    [(low, high)] = re.findall(r"^FAST_GUIDANCE = \(([\d.]+), ([\d.]+)\)", options, re.MULTILINE)
    values = {
        "SAMPLERS": _values_of("Sampler", contracts)[1:],
        "QUALITIES": _values_of("Quality", contracts)[1:],
        "RANGES": ranges,
        "FAST_GUIDANCE": {"min": float(low), "max": float(high)},
        "MAX_RANKED": limits["MAX_RANKED"],
        "MAX_CAPTION": limits["MAX_CAPTION_BYTES"],
    }
    made_from = "protos/, unclip/options.py and unclip/wire/limits.py"
    text = f"// Generated from {made_from} by `make protos`; never edited by hand.\n"
    return text + "".join(f"\nexport const {name} = {json.dumps(value, indent=2)};\n" for name, value in values.items())


def _outputs(destination: Path, *names: str) -> list[str]:
    return [f"--{name}_out={'quiet:' if 'mypy' in name else ''}{destination}" for name in names]


def _protoc(protos: Path, arguments: list[str], files: list[Path]) -> None:
    scripts = Path(sys.executable).parent
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}"]
    command += [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    subprocess.run([*command, *arguments, *map(str, files)], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
