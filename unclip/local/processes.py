"""The processes of a stack, started each by itself or forked from one that has imported what they share."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unclip.errors import EXIT_MISCONFIGURED, ConfigurationError, Unavailable
from unclip.local import reaper, starter
from unclip.local.starter import Launch

LOG_LINES = 12  # of a failed service, shown with the error
UNKNOWN_STATUS = 255  # of a process whose starter is gone
PATIENCE_S = 120.0  # with a starter's imports: then each process shall have its own
SHARING = "UNCLIP_SHARE_IMPORTS"  # in the environment; 0: no starter


class Running(Protocol):
    """A process, as `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        ...

    def terminate(self) -> None:
        """Sends SIGTERM."""
        ...

    def kill(self) -> None:
        """Sends SIGKILL."""
        ...


@dataclass(frozen=True)
class ServiceProcess:
    """One running service: its role, its process, and the files it writes."""

    role: str
    process: Running
    address_file: Path
    log: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def address(self) -> str | None:
        """``host:port`` once the service listens, None before."""
        text = self.address_file.read_text() if self.address_file.exists() else ""
        return text.strip() or None

    def check(self) -> None:
        """Raises, when the process has ended: ConfigurationError with what it said of how it is configured, or else
        Unavailable with the last lines of its log."""
        status = self.process.poll()
        if status == EXIT_MISCONFIGURED:
            said = [
                line for line in self.log.read_text(errors="replace").splitlines() if line.startswith(f"{self.role}: ")
            ]
            if said:
                raise ConfigurationError(said[-1])
        if status is not None:
            raise Unavailable(self.role, f"the {self.role} exited with status {status}{self.last_words()}")

    def last_words(self) -> str:
        """The last lines of the log, as the end of an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "".join(f"\n  {line}" for line in lines)


def command(module: str) -> list[str]:
    """The command line that starts a service, without its options."""
    return [sys.executable, "-m", module]


def start(launch: Launch) -> Running:
    """A process that begins with a Python of its own."""
    with Path(launch.log).open("wb") as out:
        return subprocess.Popen(
            [*command(launch.module), *launch.arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; they are stopped in order
        )


def sharing() -> bool:
    """Whether this system can have a `Starter`, and the environment does not forbid it."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and os.environ.get(SHARING) != "0"


def begin(log: Path, *words: str) -> subprocess.Popen[bytes]:
    """`unclip.local.starter` with a command line of ``words``; what its imports have to say goes to ``log``."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", starter.__name__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            start_new_session=True,
            bufsize=0,
        )


class Prepared:
    """A process that imports ``modules`` at once, and is told later what to run with them."""

    def __init__(self, modules: Sequence[str], log: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = begin(log, starter.ONCE, *modules)

    @property
    def pid(self) -> int | None:
        """Its process id, None once it was told."""
        return self._process.pid if self._process is not None else None

    def launch(self, launch: Launch) -> Running:
        """The process, from now on that of ``launch``. Not to be called twice."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # whoever looks after the process sees that it has ended
            process.stdin.write(launch.line())
        let_go(process)
        return process

    def close(self) -> None:
        """Ends it if it was told nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            let_go(self._process)


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Closes this end of the pipes to a process."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class Starter:
    """A process that imports ``modules`` and forks others from then on; see `unclip.local.starter`.

    It begins at once; what is asked of it first waits for its imports. log: the file of what these have to say.
    """

    def __init__(self, modules: Sequence[str], log: Path) -> None:
        self._process = begin(log, *modules)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self._refusal: str | None = None
        self._statuses: dict[int, int] = {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def refusal(self) -> str:
        """Why it forks nothing, "" where it does."""
        if self._refusal is None:
            if not select.select([self._answers], [], [], PATIENCE_S)[0]:
                self._process.kill()
            said = self._line()
            self._refusal = "" if said == starter.READY else said or "it has ended"
        return self._refusal

    def launch(self, launch: Launch) -> Running:
        """A process, forked, or started by itself where the starter refuses or is gone."""
        if not self.refusal:
            try:
                self._orders.write(launch.line())
            except BrokenPipeError:
                return start(launch)
            while line := self._line():
                if not self._is_status(line):
                    return ForkedProcess(line, self)
        return start(launch)

    def status(self, pid: int) -> int:
        """The exit status of a process that has ended."""
        while pid not in self._statuses and (line := self._line()):
            self._is_status(line)
        return self._statuses.setdefault(pid, UNKNOWN_STATUS)

    def close(self) -> None:
        """Ends the starter, not what it started."""
        self._process.kill()  # it may be at its imports, and has nothing to lose
        self._process.wait()
        let_go(self._process)

    def _is_status(self, line: str) -> bool:
        word, *numbers = line.split()
        if word != starter.ENDED:
            return False
        pid, status = map(int, numbers)
        self._statuses[pid] = status
        return True

    def _line(self) -> str:
        """What it says next; "" once it is gone."""
        line, byte = bytearray(), b""
        while not self._answers.closed and (byte := self._answers.read(1) or b"") not in (b"", b"\n"):
            line += byte
        return line.decode() if byte else ""


class ForkedProcess:
    """A process that a `Starter` forked. line: of `unclip.local.reaper.process_line`."""

    def __init__(self, line: str, parent: Starter) -> None:
        self.pid = int(line.split()[0])
        self._handle, self._parent = reaper.ProcessHandle.open(line), parent

    def poll(self) -> int | None:
        """See `Running`."""
        return self._parent.status(self.pid) if self._handle is None or self._handle.ended else None

    def wait(self, timeout: float | None = None) -> int:
        """See `Running`."""
        if self._handle is not None and self._handle.descriptor is not None:
            ended = select.poll()
            ended.register(self._handle.descriptor, select.POLLIN)
            if not ended.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._parent.status(self.pid)

    def terminate(self) -> None:
        """See `Running`."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """See `Running`."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._handle is not None:
            self._handle.send(number)
