"""``python -m tests.bench.activations CHECKPOINT THREADS ROWS NETWORK...``: what one forward takes beside the weights.

A process that has run nothing yet loads one network after the other, runs ``ROWS`` rows of zeros through it, and prints
the most that any of them needed, in bytes: a service that has warmed up keeps freed blocks, and cannot tell.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from tests.processes import resident
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.device import open_device
from unclip.networks.placement import Placement
from unclip.triton.backend import networks_of

DTYPES = {"FP32": torch.float32, "INT64": torch.int64, "BOOL": torch.bool}
TOKENS = 81  # of a decoder's context: Karlo's 77 and 4


def activations(name: Any, checkpoint: Checkpoint, device: torch.device, rows: int) -> int:
    """Bytes that one forward of a network adds."""
    module = networks_of(name)
    network = module.load(name, checkpoint, Placement(device))
    inputs = {
        port.name: torch.zeros((rows, *(TOKENS if n < 0 else n for n in port.shape)), dtype=DTYPES[port.format])
        for port in module.signature(name, checkpoint).inputs
    }
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    with torch.inference_mode():
        network(inputs)
    return resident("VmHWM") - before


def main() -> None:
    """See the module."""
    folder, threads, rows, *names = sys.argv[1:]
    device = open_device("cpu", int(threads))
    checkpoint = Checkpoint.open(folder)
    print(max(activations(name, checkpoint, device, int(rows)) for name in names))


if __name__ == "__main__":
    main()
