"""Which device an engine runs on."""

from __future__ import annotations

import ctypes
import sys

import torch

from unclip.errors import ConfigurationError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT, LARGEST_KEPT = 512 << 20, 32 << 20  # bytes; the second is the most that glibc takes


def open_device(name: str, threads: int = 0) -> torch.device:
    """The device called ``name``; "auto" is the first GPU, else the CPU. threads: of the CPU, 0 for one per core.

    Raises:
        ConfigurationError: no such device here.
    """
    if threads:
        torch.set_num_threads(threads)
    keep_memory()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"device must be cpu, cuda, cuda:N or auto; got {name!r}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(f"device {name} is not here; this machine has {torch.cuda.device_count()} GPUs")
    if device.type not in ("cpu", "cuda"):
        raise ConfigurationError(f"device must be cpu, cuda, cuda:N or auto; got {name!r}")
    return device


def keep_memory() -> None:
    """Has malloc keep freed blocks: each step asks for the same large ones again.

    By default glibc gives them back to the kernel, which clears a page at a time when they are next touched: a tenth of
    a step's time on a CPU. Elsewhere than on glibc nothing happens.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)
