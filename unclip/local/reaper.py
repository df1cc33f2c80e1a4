"""``python -m unclip.local.reaper``: ends processes whose parent died without ending them.

It reads processes from standard input, one a line, as `process_line` writes them. When the input ends without the line
``done``, whoever held its other end is dead, and the processes are ended: politely first, then for certain.

The number of a process that has ended may belong to another one by then: a process is known by when it began as well,
and where there are such, a file descriptor is kept of it, which is never anybody else's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 10.0
POLL_S = 0.1


def alive(pid: int) -> bool:
    """Whether process ``pid`` runs; one that has ended but that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
        return _stat(pid)[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # no /proc here
        return True


def process_line(pid: int) -> str:
    """The line by which the reaper knows a process that nobody has waited for yet."""
    try:
        return f"{pid} {_stat(pid)[19]}\n"
    except OSError:
        return f"{pid}\n"


def _stat(pid: int) -> list[str]:
    """What Linux says of a process, from its state on: "Z" for one that has ended; at 19 when it began."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@dataclass(frozen=True)
class ProcessHandle:
    """A process that is that one for ever. descriptor: of it; None on systems without."""

    pid: int
    descriptor: int | None

    @classmethod
    def open(cls, line: str) -> ProcessHandle | None:
        """The process of a line of `process_line`, None where it has ended."""
        pid, *began = line.split()
        try:
            descriptor = os.pidfd_open(int(pid))
        except AttributeError:
            return cls(int(pid), None)
        except OSError:
            return None
        with contextlib.suppress(OSError):
            if not began or _stat(int(pid))[19] == began[0]:
                return cls(int(pid), descriptor)
        os.close(descriptor)
        return None

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.descriptor is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self.descriptor, number)

    @property
    def ended(self) -> bool:
        """Whether it has."""
        if self.descriptor is None:
            return not alive(self.pid)
        return bool(select.select((self.descriptor,), (), (), 0)[0])


def end(processes: Sequence[ProcessHandle], grace: float = GRACE_S) -> None:
    """Sends SIGTERM to each, and SIGKILL to those that live ``grace`` seconds on."""
    for process in processes:
        process.send(signal.SIGTERM)
    patience = time.monotonic() + grace
    while time.monotonic() < patience and not all(process.ended for process in processes):
        time.sleep(POLL_S)
    for process in processes:
        if not process.ended:
            process.send(signal.SIGKILL)


def main() -> None:
    """Reads processes until the input ends; see the module."""
    held: list[ProcessHandle] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        if (process := ProcessHandle.open(line)) is not None:
            held.append(process)
    end(held)


if __name__ == "__main__":
    main()
