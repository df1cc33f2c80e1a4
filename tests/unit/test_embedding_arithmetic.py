"""Embeddings add up as vectors do, keep their CLIP, and survive their file."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unclip.client import Embedding, load_embeddings, save_embeddings
from unclip.client.vectors import combine, read_rows
from unclip.errors import InvalidRequest, PreconditionFailed


def point(*values: float, space: str = "clip") -> Embedding:
    return Embedding(np.array(values, np.float32), space)


A, B, C = point(3, 4), point(1, 0), point(0, 2)


def test_a_plus_b_minus_c_is_as_vectors_have_it_and_stays_float32() -> None:
    total = 0.5 * (A + B - C) * 2
    assert total.values.tolist() == [4, 2]
    assert total.values.dtype == np.float32
    assert total.clip_space == "clip"


def test_equal_points_of_one_clip_are_equal() -> None:
    assert point(3, 4) == A
    assert hash(point(3, 4)) == hash(A)
    assert point(3, 4, space="other") != A
    assert B != A


def test_a_sum_takes_the_length_it_is_given() -> None:
    assert A.length == 5
    assert (A + B).with_length(A.length).length == pytest.approx(5, rel=1e-6)
    assert point(0, 0).with_length(7).values.tolist() == [0, 0]


def test_embeddings_of_two_clips_do_not_add_up() -> None:
    with pytest.raises(PreconditionFailed, match="do not add up"):
        A + point(1, 1, space="other")
    with pytest.raises(PreconditionFailed):
        A - point(1, 1, space="other")


@pytest.mark.parametrize(
    ("text", "values"), [("1", [1, 0]), ("0+1-2", [5 * 4 / 20**0.5, 5 * 2 / 20**0.5]), ("1+1", [1, 0])]
)
def test_a_sum_of_rows_is_as_long_as_its_first(text: str, values: list[float]) -> None:
    assert combine([A, B, C], text).values == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("text", ["", "-1", "1+", "a", "0*1", "3", "0-3"])
def test_other_sums_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="index"):
        combine([A, B, C], text)


def test_a_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = save_embeddings(tmp_path / "new" / "v.npz", [A, B, C], ["a cat", "été", "a cat"])
    found = load_embeddings(path)
    assert list(found) == ["a cat", "été"]
    assert [row.values.tolist() for row in found["a cat"]] == [[3, 4], [0, 2]]
    assert {row.clip_space for rows in found.values() for row in rows} == {"clip"}
    assert [name for name, _ in read_rows(path)] == ["a cat", "été", "a cat"]


def test_a_file_that_would_lose_the_clip_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"\.npz"):
        save_embeddings(tmp_path / "v.npy", [A], ["a"])
    with pytest.raises(InvalidRequest, match="one CLIP"):
        save_embeddings(tmp_path / "v.npz", [A, point(1, 1, space="other")], ["a", "b"])


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((2, 2), np.float32))
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    np.savez(tmp_path / "double.npz", values=np.zeros((1, 2)), names=np.array(["a"]), clip_space=np.array("clip"))
    np.savez(tmp_path / "object.npz", values=np.array([None]), names=np.array(["a"]), clip_space=np.array("clip"))
    (tmp_path / "text.npz").write_text("no arrays")
    for name in ("v.npy", "other.npz", "double.npz", "object.npz", "text.npz", "nowhere.npz"):
        with pytest.raises(InvalidRequest, match="embedding"):
            load_embeddings(tmp_path / name)


def packed(path: Path, **members: bytes) -> Path:
    """A .npz file with these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


def array(value: np.ndarray[Any, Any]) -> bytes:
    """A member."""
    out = io.BytesIO()
    np.save(out, value)
    return out.getvalue()


CLIP = array(np.array("clip"))
HUGE_HEADER = b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + bytes(1 << 26)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (array(np.zeros((1 << 14, 1 << 11), np.float32)), array(np.array(["a"]))),  # 128 MiB of zeros
        (array(np.zeros((1, 1), np.float32)).replace(b"(1, 1)", b"(9000000000, 1)"), array(np.array(["a"]))),
        (array(np.zeros((200_000, 1), np.float32)), array(np.full(200_000, "a"))),
        (array(np.zeros((1, 1), np.float32)), array(np.array(["a" * (1 << 25)]))),
        (HUGE_HEADER, array(np.array(["a"]))),
    ],
    ids=["many", "many claimed", "rows", "a long name", "a long header"],
)
def test_a_small_file_that_unfolds_into_much_is_refused_before_it_does(
    tmp_path: Path, values: bytes, names: bytes
) -> None:
    path = packed(tmp_path / "v.npz", values=values, names=names, clip_space=CLIP)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="embedding"):
        load_embeddings(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


def test_a_member_that_hides_behind_another_is_refused(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "v.npz", values=array(np.zeros((1, 1), np.float32)), names=array(np.array(["a"])), clip_space=CLIP
    )
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("values", bytes(100))  # which numpy would take for the values
    with pytest.raises(InvalidRequest, match="embedding"):
        load_embeddings(path)


def test_more_than_can_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="at most 100000 rows"):
        save_embeddings(tmp_path / "v.npz", [A] * 100_001, ["a"] * 100_001)


def described(header: str) -> bytes:
    """An .npy array whose header is ``header``."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(8, 1, id="encrypted"),
        pytest.param(10, 99, id="compressed in a way that nobody knows"),
        pytest.param(10, zipfile.ZIP_LZMA, id="no LZMA although it says so"),
    ],
)
def test_an_archive_that_cannot_be_unpacked_is_refused(tmp_path: Path, offset: int, value: int) -> None:
    path = save_embeddings(tmp_path / "v.npz", [A], ["a"])
    data = bytearray(path.read_bytes())
    for mark, place in (
        (b"PK\x01\x02", offset),
        (b"PK\x03\x04", offset - 2),
    ):  # the directory, and each member's own head
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + place] = value
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"must be a \.npz file"):
        load_embeddings(path)


@pytest.mark.parametrize("header", ["(" * 300, "  a\n b\nc {", "{'shape': (2L, 4L"])
def test_an_array_whose_header_is_no_python_is_refused(tmp_path: Path, header: str) -> None:
    names = array(np.array(["a"]))
    path = packed(tmp_path / "v.npz", values=described(header), names=names, clip_space=CLIP)
    with pytest.raises(InvalidRequest, match=r"must be a \.npz file"):
        load_embeddings(path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    names = np.array([0x7FFFFFFF], np.uint32).view("<U1")
    np.savez(tmp_path / "v.npz", values=np.ones((1, 2), np.float32), names=names, clip_space=np.array("clip"))
    with pytest.raises(InvalidRequest, match=r"must be a \.npz file"):
        load_embeddings(tmp_path / "v.npz")
