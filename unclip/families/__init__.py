"""Kinds of checkpoints, a small file each: what a folder that says nothing of itself is taken for, and what is refused.

To add one, write its `Family` and name it in ``FAMILIES``; see ``docs/checkpoints.md`` for what else may differ.
"""

from __future__ import annotations

from collections.abc import Mapping

from unclip.errors import CheckpointError
from unclip.families.embedded import EMBEDDED
from unclip.families.family import Family
from unclip.families.kandinsky import KANDINSKY
from unclip.families.karlo import KARLO
from unclip.families.stable_unclip import STABLE_UNCLIP

FAMILIES = (EMBEDDED, KARLO, KANDINSKY, STABLE_UNCLIP)


def family_of(index: Mapping[str, object], described: bool) -> Family:
    """The family of a folder with this ``model_index.json``, empty where there is none.

    described: the folder has an ``unclip.json``, which says all that a family would.

    Raises:
        CheckpointError: the index names a pipeline of no family here.
    """
    pipeline = index.get("_class_name")
    for family in FAMILIES:
        if pipeline in family.pipelines:
            return EMBEDDED if described else family
    if pipeline is not None:
        known = ", ".join(f"{name} ({family.name})" for family in FAMILIES for name in family.pipelines)
        raise CheckpointError(
            f"checkpoint: model_index.json is of a {pipeline}, which is not supported; supported are {known}, "
            "and folders with an unclip.json"
        )
    return EMBEDDED if described else KARLO


__all__ = ["EMBEDDED", "FAMILIES", "KARLO", "Family", "family_of"]
