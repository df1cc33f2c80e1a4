"""Memory of requests with pictures goes back to the system when they end."""

from __future__ import annotations

import ctypes
import os

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 256 * 1024  # bytes


def return_large_blocks() -> None:
    """Has blocks of 256 KiB and more given back as soon as they are free; for processes that compute nothing.

    glibc does so at first. But it takes the first large block that is freed for a sign that more will be wanted, and
    keeps those up to 32 MiB from then on, in pieces between smaller ones that are still in use: so a gateway grew to
    1 GiB by a few requests of 10 MB at a time. Other C libraries are left as they are, and so is what the variable
    ``MALLOC_MMAP_THRESHOLD_`` says.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
