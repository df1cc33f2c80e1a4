"""Services as processes on addresses of their own, found by name: what a cluster is to them.

Every replica has a loopback address as a pod has an IP; all replicas of a role share a port; a name server tells of
those that are ready, as a headless Service does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from tests.drill.names import NameServer
from tests.metrics import Metrics
from tests.processes import Process, free_port

Role = Literal["encoder", "prior", "decoder", "upsampler", "gateway"]
STAGES: tuple[Role, ...] = ("encoder", "prior", "decoder", "upsampler")
MODULES: Mapping[Role, tuple[str, ...]] = {
    "encoder": ("encoder_svc",),
    "prior": ("prior_svc",),
    "decoder": ("decoder_svc", "--stages", "decode"),
    "upsampler": ("decoder_svc", "--stages", "upsample"),
    "gateway": ("gateway",),
}
DECODE = "unclip.api.decoder.v1.DecoderService/Decode"
PATIENCE_S = 120.0
GRACE_S = 60.0
CLUSTERS = count()  # of this process, which may be drilled at the same time
DRAIN_S = 6.0  # longer than a channel takes to ask its names again


@dataclass(frozen=True)
class Replica:
    """One process with a loopback address of its own."""

    role: Role
    address: str
    process: Process
    metrics: Metrics

    def calls(self, method: str, code: str) -> float:
        """How many calls of a method, "package.Service/Method", have ended with a status."""
        ended = {"rpc_method": method, "rpc_response_status_code": code}
        return self.metrics.total("rpc_server_call_duration_seconds_count", **ended)

    def seconds_until(self, method: str, more_than: float, patience: float) -> float:
        """Seconds until more calls of a method than so many have ended well; ``patience`` when they do not."""
        began = time.monotonic()
        while self.calls(method, "OK") <= more_than and time.monotonic() - began < patience:
            time.sleep(0.1)
        return time.monotonic() - began


@dataclass
class Cluster:
    """All replicas, and the names they are found by. Make it with `cluster`.

    stubs: options of stub stages by role; a role without an entry runs its real service on ``checkpoint``.
    """

    folder: Path
    names: NameServer
    stubs: Mapping[Role, Sequence[str]]
    checkpoint: Path | None
    options: Mapping[Role, Sequence[str]]
    replicas: list[Replica] = field(default_factory=list)
    ports: dict[Role, int] = field(default_factory=dict)
    _launched: list[Process] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))
    # Keeps clusters on one machine apart: a pid of our own, and a number.
    _net: int = field(default_factory=lambda: os.getpid() + 7919 * next(CLUSTERS))

    def target(self, role: Role) -> str:
        """What a client of a role dials."""
        port = self.ports.setdefault(role, free_port())
        return f"dns://{self.names.address}/{role}.drill:{port}"

    def of(self, role: Role) -> list[Replica]:
        """The replicas of a role that the names tell of, oldest first."""
        return [replica for replica in self.replicas if replica.role == role]

    def launch(self, role: Role) -> Replica:
        """Starts a replica; nobody knows of it before `admit`."""
        number = next(self._numbers)
        address = f"127.{1 + self._net // 250 % 250}.{1 + self._net % 250}.{number}"
        self.target(role)
        metrics = Metrics(f"{address}:{free_port()}")
        stubbed = ("unclip.testing", "--stages", role, *self.stubs.get(role, ()))
        module, *words = stubbed if role in self.stubs else MODULES[role]
        words += ["--host", address, "--port", str(self.ports[role]), "--metrics", metrics.address]
        words += ["--drain", str(DRAIN_S), "--grace", "30", "--log-level", "WARNING"]
        if role == "gateway":
            words += [word for stage in STAGES for word in (f"--{stage}", self.target(stage))]
        elif role not in self.stubs:
            words += ["--checkpoint", str(self.checkpoint), "--device", "cpu", "--threads", "1"]
        words += self.options.get(role, ())
        process = Process(module, words, self.folder, f"{role}-{number}")
        self._launched.append(process)
        return Replica(role, address, process, metrics)

    def admit(self, *replicas: Replica) -> None:
        """Tells the names of replicas once they serve."""
        for replica in replicas:
            replica.process.address(PATIENCE_S)
            self.replicas.append(replica)
        self._publish()

    def start(self, counts: Mapping[Role, int]) -> None:
        """Starts so many replicas of each role and waits for them; the stages first, the gateways find them then."""
        self.admit(*[self.launch(role) for role in STAGES for _ in range(counts.get(role, 0))])
        self.admit(*[self.launch("gateway") for _ in range(counts.get("gateway", 0))])

    def retire(self, *replicas: Replica) -> list[int]:
        """Takes replicas out as Kubernetes does: SIGTERM, and out of the names at once. Gives their exit statuses."""
        self.replicas = [replica for replica in self.replicas if replica not in replicas]
        self._publish()
        for replica in replicas:
            replica.process.send_signal(signal.SIGTERM)
        return [replica.process.wait(DRAIN_S + GRACE_S) for replica in replicas]

    def lose(self, replica: Replica) -> None:
        """Kills a replica; the names forget it."""
        replica.process.kill()
        self.replicas.remove(replica)
        self._publish()

    def close(self) -> None:
        """Ends every process at once, those not admitted yet included."""
        for process in self._launched:
            process.kill()

    def _publish(self) -> None:
        for role in (*STAGES, "gateway"):
            self.names.records[f"{role}.drill"] = tuple(replica.address for replica in self.of(role))


@contextmanager
def cluster(
    folder: Path,
    counts: Mapping[Role, int],
    *,
    stubs: Mapping[Role, Sequence[str]] | None = None,
    checkpoint: Path | None = None,
    options: Mapping[Role, Sequence[str]] | None = None,
) -> Iterator[Cluster]:
    """A cluster with so many replicas of each role, ended at the exit."""
    with NameServer() as names:
        made = Cluster(folder, names, stubs or {}, checkpoint, options or {})
        try:
            made.start(counts)
            yield made
        finally:
            made.close()


def beside(checkpoint: Path) -> tuple[str, ...]:
    """Options of stub stages that work together with services of ``checkpoint``, a tiny one: they start in no time."""
    from tests.tiny import BASE, CONTEXT, FINAL, WIDTH  # imports torch
    from unclip.checkpoints.checkpoint import Checkpoint

    sizes = {"--dim": WIDTH, "--context": CONTEXT, "--base-size": BASE, "--final-size": FINAL}
    words = (word for name, size in sizes.items() for word in (name, str(size)))
    return (*words, "--clip-space", Checkpoint.open(checkpoint).clip_space, "--step-seconds", "0.002")
