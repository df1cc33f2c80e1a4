"""Who logs never waits: not for a slow reader, not for one that is gone."""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
import time
from collections.abc import Iterator

import pytest

from unclip.serving.log_writer import MOST_PRINTED, PRINTED_PER_SECOND, Lines, Writer, to_file, to_stream


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(read, write) ends."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_arrive_in_order(pipe: tuple[int, int]) -> None:
    writer = Writer(to_file(pipe[1]))
    for number in range(100):
        writer.put(f"{number}\n")
    assert writer.flush(5)
    assert os.read(pipe[0], 65536).decode().split() == [str(number) for number in range(100)]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe: tuple[int, int], blocking: bool) -> None:
    os.set_blocking(pipe[1], False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe[1], b"." * 4096)
    os.set_blocking(pipe[1], blocking)
    writer = Writer(to_file(pipe[1]), most=10_000)
    began = time.monotonic()
    for number in range(10_000):
        writer.put(f"{number:099}\n")
    assert not writer.flush(0.2)
    assert time.monotonic() - began < 5
    read = b""
    os.set_blocking(pipe[0], False)
    while not writer.flush(0):  # the reader comes back
        with contextlib.suppress(BlockingIOError):  # it has all, and the writer is about to know
            read += os.read(pipe[0], 1 << 20)
    os.set_blocking(pipe[0], True)
    os.write(pipe[1], b"end")
    while not read.endswith(b"end"):
        read += os.read(pipe[0], 1 << 20)
    told = re.findall(r"(\d+) log lines were dropped", read.decode())
    kept = re.findall(r"\d{99}\n", read.decode())
    assert len(kept) >= 100
    assert len(kept) + sum(map(int, told)) == 10_000


def test_a_reader_that_is_gone_ends_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = Writer(to_file(write))
    writer.put("x\n")
    assert writer.flush(5)
    writer.put("y\n")
    assert writer.flush(5)
    os.close(write)


def test_what_others_print_to_standard_error_arrives_in_whole_lines() -> None:
    out = io.StringIO()
    writer = Writer(to_stream(out))
    stream = Lines(writer)
    threads = [threading.Thread(target=print, args=("a", "b"), kwargs={"file": stream}) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    stream.write("part")
    writer.close(5)
    assert out.getvalue() == "a b\n" * 3


def test_a_flood_of_what_others_print_is_cut() -> None:
    out, now = io.StringIO(), [0.0]
    writer = Writer(to_stream(out))
    stream = Lines(writer, clock=lambda: now[0])
    for _ in range(3 * MOST_PRINTED):
        stream.write("a\n")
    now[0] = 1.0
    for _ in range(MOST_PRINTED):
        stream.write("b\n")
    writer.close(5)
    assert out.getvalue() == "a\n" * MOST_PRINTED + "b\n" * PRINTED_PER_SECOND
