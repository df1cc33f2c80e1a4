"""How a network is laid out and run on a device: number format, memory format, CUDA graphs, offloading.

Samplers always keep their state in float32; only what happens inside a network depends on this module.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.errors import ConfigurationError
from unclip.networks.graphs import CapturedNetwork
from unclip.networks.interface import Network, Tensors
from unclip.networks.loading import load_network
from unclip.networks.offload import offloaded
from unclip.networks.steady import steady

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Where and in what format networks run.

    dtype: of weights and activations. capture: replay each batch size as one CUDA graph instead of launching its
    kernels one by one; sizes are then rounded up to powers of two, so that few graphs serve them all. offload: only the
    network that is called is on the device, see `unclip.networks.offload`; it captures nothing.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    capture: bool = False
    offload: bool = False
    steady: bool = False

    @classmethod
    def choose(cls, device: torch.device, precision: str = "auto", offload: bool = False) -> Placement:
        """The placement for ``precision``: one of FORMATS, or auto, bfloat16 on a GPU and float32 elsewhere.

        Raises:
            ConfigurationError: another precision.
        """
        gpu = device.type == "cuda"
        if precision == "auto":
            precision = "bfloat16" if gpu else "float32"
        if precision not in FORMATS:
            raise ConfigurationError(f"precision must be auto, {', '.join(FORMATS)}; got {precision!r}")
        repeatable = device.type == "cpu" and precision == "float32"
        return cls(device, FORMATS[precision], gpu and not offload, offload, repeatable)

    def load(self, kind: Any, checkpoint: Checkpoint, folder: str, parts: Collection[str] = ()) -> Any:
        """A component, or ``parts`` of it, in its format on its device, for inference; see
        `unclip.networks.loading.load_network`."""
        # Tensor cores want channels innermost, and so does oneDNN on a CPU, which else reorders before and after.
        place = torch.device("cpu") if self.offload else self.device
        network = load_network(kind, checkpoint, folder, place, self.dtype, torch.channels_last, parts)
        if self.steady:
            network = steady(network)
        return offloaded(network, self.device) if self.offload else network

    def run(self, network: Network) -> Network:
        """``network`` as an engine's program calls it: float32 in and out, whatever is in between."""
        cast = network if self.dtype == torch.float32 else _Cast(network, self.dtype)
        return CapturedNetwork(cast) if self.capture else cast


class _Cast:
    """Gives a network its floating inputs in ``dtype`` and returns float32."""

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        self._network, self._dtype = network, dtype

    def __call__(self, inputs: Tensors) -> torch.Tensor:
        cast = {name: value.to(self._dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        return self._network(cast).float()
