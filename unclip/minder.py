"""``python -m unclip.minder``: ends processes whose parent died without ending them.

It reads process ids from standard input, one a line. When the input ends without the line ``done``, whoever held its
other end is dead, and the processes are ended: politely first, then for certain.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

GRACE_S = 10.0
POLL_S = 0.1


def alive(pid: int) -> bool:
    """Whether process ``pid`` runs; one that has ended but that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # no /proc here
        return True
    return state != "Z"


def end(pids: list[int], grace: float = GRACE_S) -> None:
    """Sends SIGTERM to each of ``pids``, and SIGKILL to those that live ``grace`` seconds on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    patience = time.monotonic() + grace
    while time.monotonic() < patience and any(alive(pid) for pid in pids):
        time.sleep(POLL_S)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Reads ids until the input ends; see the module."""
    pids: list[int] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        pids.append(int(line))
    end(pids)


if __name__ == "__main__":
    main()
