"""Which device an engine runs on."""

from __future__ import annotations

import torch

from unclip.errors import ConfigurationError


def open_device(name: str, threads: int = 0) -> torch.device:
    """The device called ``name``; "auto" is the first GPU, else the CPU. threads: of the CPU, 0 for one per core.

    Raises:
        ConfigurationError: no such device here.
    """
    if threads:
        torch.set_num_threads(threads)
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
