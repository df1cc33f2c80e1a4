"""Networks that take turns on a device too small for all of them: the weights of the others wait in the host's memory.

Meant for GPUs with less memory than a service's networks together; each change of network costs a copy of its weights.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn


class Offloader:
    """Holds networks of one device, of which one at a time is on it. For use by the device's one thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []  # what is lent to the device, and its original
        self.present: nn.Module | None = None

    def add(self, network: nn.Module) -> None:
        """From now on ``network``, whose weights are in the host's memory, comes to the device when it is called."""
        if self._device.type == "cuda":
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.data = tensor.data.pin_memory()  # pinned memory is copied twice as fast
        network.register_forward_pre_hook(lambda module, _: self.load(module))

    @torch.no_grad()
    def load(self, network: nn.Module) -> None:
        """Has the weights of ``network`` on the device, and no other's."""
        if network is self.present:
            return
        self.present = None
        for lent, original in self._kept:
            lent.data = original  # weights do not change: nothing has to be copied back
        self._kept = []
        for tensor in (*network.parameters(), *network.buffers()):
            self._kept.append((tensor, tensor.data))
            tensor.data = tensor.data.to(self._device, non_blocking=True, copy=True)
        self.present = network


@cache
def offloader_of(device: torch.device) -> Offloader:
    """The only one of a device: whatever is called next there, of whichever stage, displaces what was."""
    return Offloader(device)


def offloaded(network: Any, device: torch.device) -> Any:
    """``network``, on the device only while it is called, from now on."""
    offloader_of(device).add(network)
    return network
