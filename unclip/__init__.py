"""unCLIP (DALL-E 2) as gRPC services: contracts, client, and what every service shares.

The client's names are found here too, and imported when first used: ``from unclip import Client, Sampling``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unclip.client import (
        AsyncClient,
        Client,
        Edit,
        Generate,
        GeneratedImage,
        Interpolate,
        Preview,
        Progress,
        Sampling,
        TextDiff,
        Vary,
        read_provenance,
        read_recipe,
    )
    from unclip.errors import UnclipError
    from unclip.local.stack import LocalStack
    from unclip.serving.tls import Tls

__all__ = [
    "AsyncClient",
    "Client",
    "Edit",
    "Generate",
    "GeneratedImage",
    "Interpolate",
    "LocalStack",
    "Preview",
    "Progress",
    "Sampling",
    "TextDiff",
    "Tls",
    "UnclipError",
    "Vary",
    "read_provenance",
    "read_recipe",
]

_ELSEWHERE = {"LocalStack": "unclip.local.stack", "Tls": "unclip.serving.tls", "UnclipError": "unclip.errors"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "unclip.client")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
