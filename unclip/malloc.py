"""What malloc does with large blocks that are freed: give them back, or keep them for the next.

Both are glibc's; other C libraries are left as they are, and so is what the variables ``MALLOC_MMAP_THRESHOLD_`` and
``MALLOC_TRIM_THRESHOLD_`` say.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE = 256 << 10  # bytes
KEPT, LARGEST_KEPT = 512 << 20, 32 << 20  # bytes; the second is the most that glibc takes


def return_large_blocks() -> None:
    """Has blocks of 256 KiB and more given back as soon as they are free.

    glibc does so at first. But it takes the first large block that is freed for a sign that more will be wanted, and
    keeps those up to 32 MiB from then on, in pieces between smaller ones that are still in use: so a gateway grew to
    1 GiB by a few requests of 10 MB at a time, and a decoder by the weights that it had before they were laid out.
    """
    _set(M_MMAP_THRESHOLD, LARGE)


def keep_large_blocks() -> None:
    """Has freed blocks of up to 32 MiB kept: each step of a network asks for the same ones again.

    By default glibc gives them back to the kernel, which clears a page at a time when they are next touched: a tenth of
    a step's time on a CPU.
    """
    _set(M_MMAP_THRESHOLD, LARGEST_KEPT)
    _set(M_TRIM_THRESHOLD, KEPT)


def _set(parameter: int, size: int) -> None:
    variable = {M_MMAP_THRESHOLD: "MALLOC_MMAP_THRESHOLD_", M_TRIM_THRESHOLD: "MALLOC_TRIM_THRESHOLD_"}[parameter]
    if variable not in os.environ and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(parameter, size)
