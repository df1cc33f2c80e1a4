"""Files of embeddings that are none, or a stranger's: one line and exit 2, and no gateway is asked."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.odd_inputs.conftest import Refused
from tests.unit.client_peer import GatewayPeer
from unclip.cli import main
from unclip.client import Embedding, load_embeddings, vectors
from unclip.errors import InvalidRequest

ROWS = {
    "values": np.eye(3, 4, dtype=np.float32),
    "names": np.array(["a", "b", "c"]),
    "clip_space": np.array("clip"),
}


def npz(**other: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{**ROWS, **other})
    return file.getvalue()


def packed(**members: bytes) -> bytes:
    """A zip file of ``members``, which need not be arrays; those of ROWS for the others."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as into:
        for name, array in ROWS.items():
            one = io.BytesIO()
            np.save(one, array)
            into.writestr(f"{name}.npy", members.get(name, one.getvalue()))
    return file.getvalue()


def header(shape: str, kind: str = "<f4", more: str = "") -> bytes:
    """An array's file that ends after what it says of itself."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, {more}}}".encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text


def without(name: str) -> bytes:
    file = io.BytesIO()
    kept: dict[str, Any] = {each: array for each, array in ROWS.items() if each != name}
    np.savez(file, **kept)
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(npz())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(mark, at + 4)
    return bytes(data)


def altered(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


WHOLE = npz()
BROKEN: Mapping[str, bytes] = {
    "nothing": b"",
    "text": b"no embeddings",
    "a picture": b"\x89PNG\r\n\x1a\n",
    "a half": WHOLE[: len(WHOLE) // 2],
    "no directory": WHOLE[:-22],
    "a byte changed": altered(WHOLE, 200),
    "encrypted": encrypted(),
    "an array alone": header("(3, 4)"),
    "no values": without("values"),
    "no names": without("names"),
    "no CLIP": without("clip_space"),
    "more members": npz(other=np.zeros(3)),
    "rows beyond number": packed(values=header("(1000000000000, 4)")),
    "a dimension beyond number": packed(values=header("(3, 1000000000000000000000)")),
    "negative rows": packed(values=header("(-3, 4)")),
    "a header that is a program": packed(values=header("(3, 4)", more="'x': __import__('os')")),
    "a header that is deep": packed(values=header("(" * 5000)),
    "a header without end": packed(values=b"\x93NUMPY\x02\x00\xff\xff\xff\xff"),
    "another version of arrays": packed(values=b"\x93NUMPY\x09\x00"),
    "objects": packed(values=header("(3, 4)", "|O")),
    "float64": npz(values=np.eye(3, 4)),
    "whole numbers": npz(values=np.eye(3, 4, dtype=np.int32)),
    "a cube": npz(values=np.zeros((3, 4, 2), np.float32)),
    "one value": npz(values=np.float32(1)),
    "too few names": npz(names=np.array(["a"])),
    "names in a square": npz(names=np.array([["a", "b", "c"]])),
    "two CLIPs": npz(clip_space=np.array(["one", "other"])),
    "no rows": npz(values=np.zeros((0, 4), np.float32), names=np.array([], "<U1")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line(peer: GatewayPeer, refused: Refused, case: str) -> None:
    Path("vectors.npz").write_bytes(BROKEN[case])
    assert refused("generate", "--embedding", "vectors.npz").startswith("unclip: --embedding: ")
    assert peer.asked == []


@pytest.mark.parametrize("case", ["nothing", "a half", "encrypted", "rows beyond number"])
def test_a_broken_file_on_standard_input_is_one_line(
    peer: GatewayPeer, refused: Refused, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BROKEN[case])))
    assert refused("generate", "--embedding", "-").startswith("unclip: --embedding: ")
    with pytest.raises(InvalidRequest):
        load_embeddings("vectors.npz")


@pytest.mark.parametrize(
    "index",
    ["", "x", "-1", "0-", "0--1", "3", "0+7", "1e0", "0.5", "٣", " 0", "9" * 5000, "0" + "+1" * 5000, "0\x1b[2J"],
)
def test_an_index_that_names_no_row_is_one_line(peer: GatewayPeer, refused: Refused, index: str) -> None:
    Path("vectors.npz").write_bytes(WHOLE)
    assert refused("generate", "--embedding", "vectors.npz", f"--index={index}").startswith("unclip: --index: ")
    assert peer.asked == []


def test_embeddings_come_on_standard_input(peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WHOLE)))
    assert main(["generate", "--embedding", "-", "--index", "2"]) == 0
    [asked] = peer.asked
    values = asked.generate.embedding.values.data  # type: ignore[attr-defined]
    assert np.frombuffer(values, "<f4").tolist() == [0, 0, 1, 0]


def test_where_vectors_cannot_be_written_nobody_is_asked(peer: GatewayPeer, refused: Refused) -> None:
    Path("file").write_text("in the way")
    assert refused("embed", "--caption", "a", "--out", "vectors.txt").startswith("unclip: --out: must end with .npz")
    assert refused("embed", "--caption", "a", "--out", "file/vectors.npz").startswith("unclip: --out: cannot write")
    Path("folder.npz").mkdir()
    assert refused("embed", "--caption", "a", "--out", "folder.npz").startswith("unclip: --out: cannot write")
    assert refused("embed", "--caption", "a", "--out", f"{'x' * 300}.npz").startswith("unclip: --out: cannot write")
    assert peer.asked == []


@pytest.mark.parametrize(("most", "status"), [(len(WHOLE), 0), (len(WHOLE) // 2, 2)])
def test_embeddings_come_from_a_pipe_as_far_as_files_go(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, most: int, status: int
) -> None:
    monkeypatch.setattr(vectors, "MAX_FILE", most)
    os.mkfifo("pipe")
    writing = threading.Thread(target=Path("pipe").write_bytes, args=(WHOLE,))
    writing.start()
    assert main(["generate", "--embedding", "pipe"]) == status
    writing.join()


def test_vectors_that_cannot_be_written_leave_those_before(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("vectors.npz").write_bytes(WHOLE)

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert main(["embed", "--caption", "a", "--out", "vectors.npz"]) == 1
    assert capsys.readouterr().err == "unclip: vectors.npz: No space left on device\n"
    assert Path("vectors.npz").read_bytes() == WHOLE
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_more_than_can_be_embedded_is_refused_before_it_is_read(peer: GatewayPeer, refused: Refused) -> None:
    many = ["--image=nowhere.png"] * 17
    assert refused("embed", *many) == "unclip: --image: must hold 0 to 16 values; got 17\n"
    assert refused("embed", *["--caption=a"] * 65) == "unclip: --caption: must hold 0 to 64 values; got 65\n"
    assert refused("embed", "--image=house.png", "--image=nowhere.png").startswith("unclip: --image (number 2): cannot")
    assert peer.asked == []


def test_an_embedding_is_printed_in_one_line() -> None:
    told = repr(Embedding(np.random.default_rng(0).random(300, np.float32), "f" * 64))
    assert "300 dimensions" in told
    assert len(told) < 100
    assert "\n" not in told
