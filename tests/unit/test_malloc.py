"""What is large goes back to the system when it is free, or is kept for the next."""

from __future__ import annotations

import contextlib
import ctypes
import io
import subprocess
import sys

import pytest

from unclip.serving.worker import Worker

# glibc learns from the first large block that is freed: how many of the next, smaller ones are still mapped apart?
PROGRAM = """
import ctypes, sys
from unclip.malloc import keep_large_blocks, return_large_blocks

class Figures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.mallinfo2.restype = [ctypes.c_void_p], Figures
if sys.argv[1] != "neither":
    return_large_blocks()
if sys.argv[1] == "keep":
    keep_large_blocks()
libc.free(libc.malloc(24 << 20))
before = libc.mallinfo2().hblks
blocks = [libc.malloc(1 << 20) for _ in range(8)]
print(libc.mallinfo2().hblks - before)
"""


GLIBC = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another C library than glibc 2.33")


@GLIBC
@pytest.mark.parametrize(("switch", "apart"), [("return", 8), ("keep", 0), ("neither", 0)])
def test_large_blocks_are_mapped_apart_whatever_was_freed_before_or_kept(switch: str, apart: int) -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM, switch], capture_output=True, text=True, check=True)
    assert int(found.stdout) == apart


def blocks_apart() -> int:
    """How many are in this process, which does nothing about it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        sys.argv = ["", "neither"]
        exec(PROGRAM, {})
    return int(said.getvalue())


@GLIBC
def test_a_worker_keeps_no_large_blocks_either() -> None:
    worker = Worker()
    try:
        assert worker.call(blocks_apart) == 8
    finally:
        worker.close()
