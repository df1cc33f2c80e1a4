"""Services as processes of their own, looked at from outside."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

GRACE_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")


# Below those that Linux takes for outgoing connections: one of those that it gave away as free may be in use a moment
# later. Each process of the tests has an order of its own, and gives no port twice.
_ports = iter(random.Random(os.urandom(8)).sample(range(20_000, 32_000), 12_000))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("0.0.0.0", port))
        return True
    return False


def free_port() -> int:
    """A port that nobody listens on, at whichever address of this machine."""
    return next(filter(_is_free, _ports))


def resident(what: str, process: int | str = "self") -> int:
    """Bytes of RAM that a process has now ("VmRSS") or had at most ("VmHWM")."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) * 1024


class Process:
    """``python -m module options``, started at once; a context manager that ends it.

    The module takes ``--address-file`` as the services do: what the file holds once it appears is `address`. log: the
    file with all that it writes.
    """

    def __init__(
        self,
        module: str,
        options: Sequence[str],
        folder: Path,
        name: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """folder: for the address and the log; name: of those files, the module's when empty. variables: beside those
        of this process."""
        self.name = name or module
        self._file, self.log = folder / f"{self.name}.address", folder / f"{self.name}.log"
        self._file.unlink(missing_ok=True)
        command = [sys.executable, "-m", module, "--address-file", str(self._file), *options]
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={"UNCLIP_PORT": "0", **os.environ, **(variables or {})},  # free ports, unless told otherwise
            )

    def address(self, patience: float = 300.0) -> str:
        """``host:port``, once it is ready.

        Raises:
            RuntimeError: it ended, or took longer than ``patience`` seconds.
        """
        end = time.monotonic() + patience
        while not self._file.exists():
            if not self.running or time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start:\n{self.last_words()}")
            time.sleep(0.02)
        return self._file.read_text().strip()

    @property
    def announced(self) -> bool:
        """Whether its address is there to be read: from ready to ended."""
        return self._file.exists()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._process.kill()
        self._process.wait()

    @property
    def cpu_seconds(self) -> float:
        """Processor time it has used, all threads together; counted in hundredths."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS  # utime and stime

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes of memory in use now ("VmRSS") or at most so far ("VmHWM")."""
        return resident(what, self._process.pid)

    def memory_with_workers(self, what: str = "VmRSS") -> int:
        """The same of it and of the processes that it has started, together, as its cgroup counts it."""
        total = self.memory(what)
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            with contextlib.suppress(OSError, ValueError):  # one that ends while it is looked at
                total += sum(resident(what, child) for child in (thread / "children").read_text().split())
        return total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
