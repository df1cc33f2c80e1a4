"""Known pixels of a request, made ready for a trajectory."""

from __future__ import annotations

import torch

from unclip.diffusion.inpainting import Known, resampled
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import SamplerTable
from unclip.wire.known import KnownPixels


def edited(
    known: KnownPixels | None, table: SamplerTable, schedule: NoiseSchedule, device: torch.device
) -> tuple[SamplerTable, Known | None]:
    """The table to follow and what to keep on the way; ``table`` itself and None where nothing is known."""
    if known is None:
        return table, None
    return resampled(table, schedule, known.resampling), known_of(known, device)


def known_of(known: KnownPixels, device: torch.device) -> Known:
    """Known pixels on a device."""
    # Copies: what came over the wire is a read-only view of its message.
    pixels, mask = (torch.from_numpy(part.copy()).to(device) for part in (known.pixels, known.mask))
    return Known.of(pixels, mask)
