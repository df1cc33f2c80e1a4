"""Where networks run: ``name=triton://host:port/model``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from unclip.errors import ConfigurationError
from unclip.networks.interface import NETWORKS, NetworkName

ADDRESS = re.compile(r"(?P<name>\w+)=triton://(?P<server>[^/\s]+:\d+)/(?P<model>[\w.-]+)")


@dataclass(frozen=True)
class ModelAddress:
    """A model on a Triton server. server: ``host:port`` of its gRPC endpoint."""

    server: str
    model: str


def parse_networks(text: str, served: Collection[NetworkName]) -> dict[NetworkName, ModelAddress]:
    """Addresses by network, from ``name=triton://host:port/model`` with commas between; empty text names none.

    Raises:
        ConfigurationError: malformed, named twice, or no network of those ``served`` here.
    """
    found: dict[NetworkName, ModelAddress] = {}
    for part in filter(None, text.split(",")):
        match = ADDRESS.fullmatch(part)
        if match is None:
            raise ConfigurationError(f"network must be name=triton://host:port/model; got {part!r}")
        name = next((name for name in NETWORKS if name == match["name"]), None)
        if name is None or name not in served:
            raise ConfigurationError(f"network: this service runs {', '.join(served)}; got {match['name']!r}")
        if name in found:
            raise ConfigurationError(f"network: {name} is named twice")
        found[name] = ModelAddress(match["server"], match["model"])
    return found


def cpu_threads(chosen: int, elsewhere: Collection[NetworkName], needed: Collection[NetworkName]) -> int:
    """CPU threads of a service: those chosen, if any; else 0, one per core, or 1 where all networks it needs are
    ``elsewhere``. A sampler's few operations gain nothing from more, which would hold up a server on the same machine.
    """
    return chosen or int(set(needed) <= set(elsewhere))
