"""What makes one kind of checkpoint different from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from unclip.options import SamplingSettings, Sizes


@dataclass(frozen=True)
class Family:
    """Checkpoints of one origin. What a folder says of itself in ``unclip.json`` wins over all of this.

    pipelines: the ``_class_name``s of ``model_index.json`` by which it is known.
    defaults: sampling of "prior", "decoder" and "upsampler".
    license: of the weights, where neither ``unclip.json`` nor the repository's ``README.md`` names one.
    companions: by the name of a repository, or of a folder, the one beside it that has the components it lacks.
    layouts: where repositories call components otherwise than this project does, by ``_class_name`` all that one has:
    the component, and its folder. sizes: of pictures that its decoder makes besides its own.
    """

    name: str
    pipelines: tuple[str, ...]
    defaults: Mapping[str, SamplingSettings] = field(default_factory=dict)
    license: str = "unknown"
    caption_template: str = "a photo of {}"
    companions: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sizes: Sizes | None = None
