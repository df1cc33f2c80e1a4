"""The contracts in protos/: every language has its names there, and what was released of them does not break."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from protos.generate import DESCRIPTORS, ROOT

BUF = Path(sys.executable).with_name("buf")
GATEWAY = "unclip/api/gateway/v1/gateway.proto"


def test_every_language_finds_its_names_in_the_contracts() -> None:
    for file in FileDescriptorSet.FromString((ROOT / "unclip" / "api" / DESCRIPTORS).read_bytes()).file:
        if not file.package.startswith("unclip."):
            continue
        area = file.package.split(".")[2]
        assert file.options.go_package == f"unclip/api/{area}/v1;{area}v1"
        assert file.options.java_package == file.package
        assert file.options.java_multiple_files
        assert file.options.csharp_namespace == ".".join(word.title() for word in file.package.split("."))


def breaks(protos: Path) -> str:
    """What buf has to say of contracts in ``protos`` against those that were released; empty for nothing."""
    against = ["--against", str(ROOT / "protos" / "released.binpb")]
    return subprocess.run([BUF, "breaking", *against], cwd=protos, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("optional int64 seed = ", "optional int64 seed_number = ", "name"),
        (
            "  rpc Vary(VaryRequest) returns (VaryResponse) {",
            "  rpc Vary(VaryRequest) returns (EditResponse) {",
            "Vary",
        ),
        ('go_package = "unclip/', 'go_package = "other/', "go_package"),
    ],
)
def test_what_would_break_callers_of_a_release_is_refused(tmp_path: Path, before: str, after: str, told: str) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    assert breaks(tmp_path / "protos") == ""
    file = tmp_path / "protos" / GATEWAY
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    assert told in breaks(tmp_path / "protos")
