"""What is committed of generated code is what the contracts in protos/ generate, byte for byte."""

from __future__ import annotations

from pathlib import Path

from protos.generate import ROOT, generate

OTHERS = ("enum_names.py", "client/blocking.py", "web/studio/page/js/contract.js")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix in (".py", ".pyi", ".binpb", ".js"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    generate(tmp_path)
    fresh, committed = contents(tmp_path / "unclip"), contents(ROOT / "unclip")
    assert sorted(fresh) == sorted(name for name in committed if name.startswith("api/") or name in OTHERS)
    stale = [name for name in fresh if fresh[name] != committed[name]]
    assert not stale, "run `make protos`"
