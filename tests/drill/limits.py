"""Memory limits as a cluster sets them: what takes more is killed at once, as the kernel kills it in its cgroup."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.drill.cluster import Replica, Role

VALUES = Path(__file__).parents[2] / "deploy" / "helm" / "unclip" / "values.yaml"
UNITS = {"Mi": 2**20, "Gi": 2**30}
POLL_S = 0.02


def chart_limits() -> Mapping[Role, int]:
    """Bytes that the chart lets each role have."""
    values = yaml.safe_load(VALUES.read_text())
    roles: tuple[Role, ...] = ("encoder", "prior", "decoder", "upsampler", "gateway")

    def limit(role: Role) -> int:
        own = (values.get(role) or {}).get("resources") or values["defaults"]["resources"]
        told = str(own["limits"]["memory"])
        return int(told[:-2]) * UNITS[told[-2:]]

    return {role: limit(role) for role in roles}


class Watcher:
    """What `limited` tells. killed: replicas that took too much. most: bytes that any of a role had."""

    def __init__(self) -> None:
        self.killed: list[Replica] = []
        self.most: dict[Role, int] = {}

    def look(self, replicas: Sequence[Replica], limits: Mapping[Role, int]) -> None:
        """Kills who has too much, or had: what came and went between two looks counts."""
        for replica in replicas:
            if not replica.process.running:
                continue
            had = replica.process.memory_with_workers("VmHWM")
            self.most[replica.role] = max(self.most.get(replica.role, 0), had)
            if had > limits[replica.role]:
                replica.process.kill()
                self.killed.append(replica)


@contextmanager
def limited(replicas: Sequence[Replica]) -> Iterator[Watcher]:
    """Watches ``replicas`` while the body runs, and kills those beyond the chart's limits."""
    watcher, limits, over = Watcher(), chart_limits(), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            watcher.look(replicas, limits)

    thread = threading.Thread(target=watch, name="limits", daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        over.set()
        thread.join()
        watcher.look(replicas, limits)
