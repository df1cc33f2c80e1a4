"""Where each component of what is served lies: in one checkpoint, or where a family came in halves, in several."""

from __future__ import annotations

from collections.abc import Iterable

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import FETCHED, IMAGE_FOLDERS, STAGE_FOLDERS, TEXT_FOLDERS


def completing(
    checkpoint: Checkpoint, component: str, folders: Iterable[str], *, pickles: bool = False
) -> Checkpoint | None:
    """The checkpoint known to have a ``component`` that this one lacks, None where none is known.

    folders, pickles: what will be read of it, see `Checkpoint.open`.

    Raises:
        CheckpointError: it is not to be had.
    """
    if not checkpoint.lacks(component) or checkpoint.companion is None:
        return None
    other = Checkpoint.open(checkpoint.companion, folders, pickles=pickles)
    return None if other.lacks(component) else other


def sources(checkpoint: Checkpoint, *, pickles: bool = False) -> dict[str, Checkpoint]:
    """Every component that the services of ``checkpoint`` load, and the checkpoint that each is in.

    What it is whole without is left out; what is lost is not.

    Raises:
        CheckpointError: another checkpoint that belongs to it is not to be had.
    """
    found: dict[str, Checkpoint] = {}
    for stage in STAGE_FOLDERS:
        at = checkpoint.for_stage(stage, FETCHED[stage], pickles=pickles)
        found |= {name: at for name in at.components(stage) if not at.lacks(name)}
        for encoder, folders in (("text_encoder", TEXT_FOLDERS), ("image_encoder", IMAGE_FOLDERS)):
            if stage == "encoder" and (other := completing(at, encoder, folders, pickles=pickles)):
                found |= dict.fromkeys(folders, other)
    return found
