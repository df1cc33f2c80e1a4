"""``python -m tests.bench.activations CHECKPOINT THREADS NETWORK=ROWS...``: what one forward takes beside the weights.

A process that has run nothing yet loads one network after the other, runs so many rows of zeros through it, and prints
the most that any of them needed, in bytes: a service that has warmed up keeps freed blocks, and cannot tell.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from tests.processes import resident
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.sources import sources
from unclip.networks.device import open_device
from unclip.networks.interface import COMPONENTS, Port
from unclip.networks.placement import Placement
from unclip.triton.backend import networks_of

DTYPES = {"FP32": torch.float32, "INT64": torch.int64, "BOOL": torch.bool}
TOKENS = 81  # of a decoder's context: Karlo's 77 and 4
SIDE = 512  # of pictures, in pixels, where a network takes several


def activations(name: Any, checkpoint: Checkpoint, device: torch.device, rows: int) -> int:
    """Bytes that one forward of a network adds."""
    module = networks_of(name)
    network = module.load(name, checkpoint, Placement.choose(device, "float32"))  # as services run it
    inputs = {
        port.name: torch.zeros((rows, *(free(port) if n < 0 else n for n in port.shape)), dtype=DTYPES[port.format])
        for port in module.signature(name, checkpoint).inputs
    }
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    with torch.inference_mode():
        network(inputs)
    return resident("VmHWM") - before


def free(port: Port) -> int:
    """The length of an axis that has none of its own."""
    return SIDE // port.pixels if port.pixels else TOKENS


def main() -> None:
    """See the module."""
    folder, threads, *words = sys.argv[1:]
    device = open_device("cpu", int(threads))
    found = sources(Checkpoint.open(folder))
    asked: Any = dict(word.split("=") for word in words)
    print(max(activations(name, found[COMPONENTS[name]], device, int(rows)) for name, rows in asked.items()))


if __name__ == "__main__":
    main()
