"""``unclip verify`` says of each file what is marked, what is missing and what does not hold; so does its status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.requests.pictures import picture_file
from tests.certificates import Authority
from unclip import read_provenance
from unclip.checkpoints import untrusted
from unclip.cli import main
from unclip.errors import ConfigurationError
from unclip.serving.signing import Claim, Ingredient, Signer
from unclip.wire.images import to_pixels
from unclip.wire.marks import COMPOSITE, TERMS, TRAINED

PIXELS = to_pixels(Image.linear_gradient("L").resize((24, 24)).convert("RGB"))
CAPTURED = f"{TERMS}digitalCapture"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "verify-ca")


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with and without each mark."""
    folder, certificate = tmp_path_factory.mktemp("pictures"), authority.issue_signer("verifier")
    bare, marked = picture_file(PIXELS, "png", "").data, picture_file(PIXELS, "png", "", source_type=TRAINED).data
    signer = Signer(str(certificate.cert), str(certificate.key))
    signed = signer.sign(marked, "image/png", Claim(TRAINED))
    edited = Claim(COMPOSITE, "", (Ingredient("the picture edited", "image/png", "ab", parent=True),))
    contents = {
        "bare": bare,
        "marked": marked,
        "signed": signed,
        "only-signed": signer.sign(bare, "image/png", edited),
        "changed": signed.replace(b"trainedAlgorithmicMedia</", b"trainedAlgorithmicMedja</"),
        "taken": picture_file(PIXELS, "jpeg", "", source_type=CAPTURED).data,
        "garbled": marked.replace(b"</rdf:RDF>", b"</rdf:RDX>"),
        "cut": signed[: signed.index(b"caBX") + 500],
        "text": b"no picture",
    }
    signer.close()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    status = main(["verify", "--json", *map(str, words)])
    answer = json.loads(capsys.readouterr().out)
    return status, answer.get("files", answer)


@pytest.mark.parametrize(
    ("name", "status", "xmp", "c2pa", "generated"),
    [
        ("bare", 1, "none", "none", False),
        ("marked", 0, "present", "none", True),
        ("signed", 0, "present", "valid", True),
        ("only-signed", 0, "none", "valid", True),
        ("changed", 1, "present", "broken", False),
        ("taken", 1, "present", "none", False),
        ("garbled", 1, "broken", "none", False),
    ],
)
def test_each_file_is_told_apart(
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    name: str,
    status: int,
    xmp: str,
    c2pa: str,
    generated: bool,
) -> None:
    found, [file] = told(capsys, files[name])
    assert (found, file["xmp"]["state"], file["c2pa"]["state"]) == (status, xmp, c2pa)
    assert (file["generated"], file["passed"]) == (generated, status == 0)


def test_who_signed_is_checked_against_a_ca(
    files: dict[str, Path], authority: Authority, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, [signed, marked] = told(capsys, files["signed"], files["marked"], "--trust", authority.ca)
    assert (status, signed["passed"], signed["c2pa"]["state"], marked["passed"]) == (1, True, "trusted", False)
    assert signed["c2pa"]["signer"] == "Tests, verifier"
    stranger = Authority(tmp_path, "stranger")
    status, [signed] = told(capsys, files["signed"], "--trust", stranger.ca)
    assert (status, signed["passed"], signed["c2pa"]["state"]) == (1, False, "valid")
    for content in (b"", b"no PEM"):
        (tmp_path / "odd.pem").write_bytes(content)
        for file in ("signed", "marked"):
            assert told(capsys, files[file], "--trust", tmp_path / "odd.pem")[0] == 2
    assert told(capsys, files["signed"], "--trust", tmp_path / "none.pem")[0] == 2


def test_cas_without_end_are_one_line(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(untrusted, "MAX_BYTES", 1000)
    files["text"].write_bytes(b"-" * 1001)
    assert main(["verify", str(files["signed"]), "--trust", str(files["text"])]) == 2
    said = capsys.readouterr().err
    assert said == f"unclip: --trust: {files['text']} cannot be read: it has more than 1000 bytes\n"


def test_what_is_no_picture_keeps_none_from_being_looked_at(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    status, answers = told(capsys, files["text"], files["marked"], files["cut"])
    assert status == 2
    assert answers[1]["passed"]
    assert "PNG, JPEG or WebP" in answers[0]["error"]
    assert not answers[2].get("passed")


def test_people_read_the_same(files: dict[str, Path], authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(files["only-signed"]), str(files["bare"]), "--trust", str(authority.ca)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{files['only-signed']}: marked as made by AI",
        "  XMP   none     no XMP",
        "  C2PA  trusted  compositeWithTrainedAlgorithmicMedia; signed by Tests, verifier",
        "        began with the picture edited (sha256:ab)",
        f"{files['bare']}: not marked as made by AI",
        "  XMP   none     no XMP",
        "  C2PA  none     not signed",
    ]


def test_without_the_library_signatures_are_seen_and_not_checked(
    files: dict[str, Path], authority: Authority, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    status, [signed, marked] = told(capsys, files["signed"], files["marked"])
    assert (status, signed["c2pa"]["state"], marked["c2pa"]["state"]) == (0, "present", "none")
    assert "pip install 'unclip[c2pa]'" in signed["c2pa"]["detail"]
    monkeypatch.setattr("unclip.extras._found", lambda module: module != "c2pa")
    with pytest.raises(ConfigurationError, match=r"pip install 'unclip\[c2pa\]'"):
        read_provenance(files["signed"], authority.ca.read_bytes())
