"""Services as processes on addresses of their own, found by name: what a cluster is to them.

Every replica has a loopback address as a pod has an IP; all replicas of a role share a port; a name server tells of
those that are ready, as a headless Service does.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from tests.drill.names import NameServer

Role = Literal["encoder", "prior", "decoder", "upsampler", "gateway"]
STAGES: tuple[Role, ...] = ("encoder", "prior", "decoder", "upsampler")
MODULES: Mapping[Role, tuple[str, ...]] = {
    "encoder": ("encoder_svc",),
    "prior": ("prior_svc",),
    "decoder": ("decoder_svc", "--stages", "decode"),
    "upsampler": ("decoder_svc", "--stages", "upsample"),
    "gateway": ("gateway",),
}
PATIENCE_S = 120.0
GRACE_S = 60.0
DRAIN_S = 6.0  # longer than a channel takes to ask its names again


@dataclass
class Replica:
    """One process. address: its loopback address; log: what it writes."""

    role: Role
    address: str
    process: subprocess.Popen[bytes]
    metrics: int
    ready_file: Path
    log: Path

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def wait_ready(self) -> None:
        """Returns once it serves. Raises RuntimeError with the end of its log when it does not come to that."""
        end = time.monotonic() + PATIENCE_S
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"a {self.role} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def figure(self, name: str) -> float:
        """The sum of a metric over its labels, 0 where it has none yet."""
        return sum(value for found, _, value in self._metrics() if found == name)

    def calls(self, method: str, code: str) -> float:
        """How many calls of a method have ended with a status."""
        ended = (f'/{method}"', f'status_code="{code}"')
        return sum(
            value
            for name, labels, value in self._metrics()
            if name == "rpc_server_call_duration_seconds_count" and all(part in labels for part in ended)
        )

    def _metrics(self) -> list[tuple[str, str, float]]:
        """(name, labels, value) of everything it tells Prometheus."""
        page = urllib.request.urlopen(f"http://{self.address}:{self.metrics}/metrics", timeout=10).read().decode()
        found = re.findall(r"^([a-z_:]+)(\{[^}]*\})? (\S+)$", page, re.MULTILINE)
        return [(name, labels, float(value)) for name, labels, value in found]

    def seconds_until(self, method: str, more_than: float, patience: float) -> float:
        """Seconds until more calls of a method than so many have ended well; ``patience`` when they do not."""
        began = time.monotonic()
        while self.calls(method, "OK") <= more_than and time.monotonic() - began < patience:
            time.sleep(0.1)
        return time.monotonic() - began

    def resident(self) -> int:
        """Bytes of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


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
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))

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
        # A pid of our own in the address keeps clusters on one machine apart.
        address = f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}.{number}"
        ready, log = self.folder / f"{role}-{number}.address", self.folder / f"{role}-{number}.log"
        self.target(role)
        metrics = free_port()
        words = [
            *(("unclip.testing", "--stages", role, *self.stubs[role]) if role in self.stubs else MODULES[role]),
            *("--host", address, "--port", str(self.ports[role]), "--address-file", str(ready)),
            *("--metrics", f"{address}:{metrics}", "--drain", str(DRAIN_S), "--grace", "30", "--log-level", "WARNING"),
        ]
        if role == "gateway":
            words += [word for stage in STAGES for word in (f"--{stage}", self.target(stage))]
        elif role not in self.stubs:
            words += ["--checkpoint", str(self.checkpoint), "--device", "cpu", "--threads", "1"]
        words += self.options.get(role, ())
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return Replica(role, address, process, metrics, ready, log)

    def admit(self, *replicas: Replica) -> None:
        """Tells the names of replicas once they serve."""
        for replica in replicas:
            replica.wait_ready()
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
            replica.signal(signal.SIGTERM)
        return [replica.process.wait(DRAIN_S + GRACE_S) for replica in replicas]

    def lose(self, replica: Replica) -> None:
        """Kills a replica; the names forget it."""
        replica.process.kill()
        replica.process.wait()
        self.replicas.remove(replica)
        self._publish()

    def close(self) -> None:
        """Ends every process at once."""
        for replica in self.replicas:
            replica.process.kill()
        for replica in self.replicas:
            replica.process.wait()

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


def free_port() -> int:
    """A port that nobody listens on at 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
