"""From the host's memory to a device, without waiting for it."""

from __future__ import annotations

import torch


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``values`` of the host on ``device``. What is done there next finds them; no thread waits until they are there.

    A GPU reads pinned memory by itself; out of other memory the host has to copy, and does so while the caller waits.
    """
    if device.type == "cuda" and torch.cuda.is_available():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
