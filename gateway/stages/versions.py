"""Which version of each stage is served, while replicas of several may stand behind one name.

A *set* names one version of each stage, of which those that take or give embeddings speak one CLIP. What a gateway
decides follows from what it has counted and from what it served before, so that several gateways agree without a word:

- The set whose rarest version has the largest share of its stage's replicas wins; then the next rarest counts. So a
  stranger among many is left out, and new weights take over when they can carry the load in every stage.
- Of equals the one whose stages come from one checkpoint wins, then the one that is served, then the one that has been
  there longest.
- What is served stays as it is until another set has won for `HOLD_S`, or until a stage has no replica left of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from unclip.api.type.v1 import model_info_pb2
from unclip.options import SERVICES, ServiceName

# How long another set must have been the better one before it is served: a replica that reconnects is not counted.
HOLD_S = 2.0

# For each stage its replicas, by the names they give themselves.
Census = Mapping[ServiceName, Mapping[str, model_info_pb2.ModelInfo]]
Versions = Mapping[ServiceName, str]
Preference = tuple[list[float], int, int, int]


@dataclass(frozen=True)
class Candidate:
    """One version of a stage: what its eldest replica says of it, what share of the stage's replicas has it, since when
    one is there, and the checkpoints that they come from."""

    info: model_info_pb2.ModelInfo
    share: float
    since: int
    checkpoints: frozenset[str]


def candidates(replicas: Mapping[str, model_info_pb2.ModelInfo]) -> list[Candidate]:
    """The versions of a stage that are there."""
    found = []
    counts = Counter(info.version for info in replicas.values())
    for version, count in sorted(counts.items()):
        same = [info for info in replicas.values() if info.version == version]
        eldest = min(same, key=lambda info: (info.started.seconds, info.replica))
        homes = frozenset(info.checkpoint for info in same if info.checkpoint)
        found.append(Candidate(eldest, count / len(replicas), eldest.started.seconds, homes))
    return found


def best_set(census: Census, served: Versions) -> dict[ServiceName, model_info_pb2.ModelInfo] | None:
    """What is best served, one description a stage; None while a stage is missing or no CLIP has all of them.

    served: what is, empty at first.
    """
    known = {service: candidates(census.get(service, {})) for service in SERVICES}
    speaking = [one for found in known.values() for one in found if one.info.clip_space]
    families = {(one.info.clip_space, home) for one in speaking for home in one.checkpoints or {""}}
    sets: list[tuple[Preference, dict[ServiceName, Candidate]]] = []
    for space, home in sorted(families) or [("", "")]:
        chosen: dict[ServiceName, Candidate] = {}
        for service, found in known.items():
            if fitting := [one for one in found if one.info.clip_space in ("", space)]:
                stays = served.get(service)
                chosen[service] = max(
                    fitting,
                    key=lambda one: (one.share, home in one.checkpoints, one.info.version == stays, -one.since),
                )
        if len(chosen) == len(SERVICES):
            sets.append((preference(chosen, home, served), chosen))
    if not sets:
        return None
    _, best = max(sets, key=lambda weighed: weighed[0])
    return {service: one.info for service, one in best.items()}


def preference(chosen: Mapping[ServiceName, Candidate], home: str, served: Versions) -> Preference:
    """By what a set is compared with others, the first of all first: shares, the rarest before; how many of its stages
    come from the checkpoint ``home``; how many are served as they are; how long ago the last of them came."""
    together = sum(home in one.checkpoints for one in chosen.values())
    stay = sum(one.info.version == served.get(service) for service, one in chosen.items())
    return sorted(one.share for one in chosen.values()), together, stay, -max(one.since for one in chosen.values())


def lost_stages(census: Census, served: Versions) -> list[ServiceName]:
    """The stages that are there, yet without a replica of the version that is served."""
    return [
        service
        for service, version in served.items()
        if census.get(service) and version not in {info.version for info in census[service].values()}
    ]


def clip_mismatch(census: Census) -> str:
    """Why no set can be served although every stage is there: who speaks which CLIP."""
    spoken = {
        service: " or ".join(sorted({info.clip_space[:12] for info in replicas.values() if info.clip_space}))
        for service, replicas in census.items()
    }
    return ", ".join(f"{service} {spaces}" for service, spaces in spoken.items() if spaces)


def replica_counts(census: Census) -> dict[tuple[ServiceName, str], int]:
    """How many replicas of a stage have a version."""
    return dict(Counter((service, info.version) for service in SERVICES for info in census.get(service, {}).values()))


def versions_of(infos: Mapping[ServiceName, model_info_pb2.ModelInfo]) -> dict[ServiceName, str]:
    """The version of each stage."""
    return {service: info.version for service, info in infos.items()}


def channel_versions_of(infos: Mapping[ServiceName, model_info_pb2.ModelInfo]) -> dict[ServiceName, str]:
    """The version by which each stage's replicas are to be reached; empty, by none, for a stage whose program is from
    before replicas had names: neither its health nor its answers name a version."""
    return {service: info.version if info.replica else "" for service, info in infos.items()}
