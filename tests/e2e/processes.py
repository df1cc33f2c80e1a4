"""Services as processes, for tests that look at them from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import Process

PATIENCE_S = 90.0


@contextmanager
def service(
    module: str, folder: Path, *options: str, variables: Mapping[str, str] | None = None, name: str = ""
) -> Iterator[str]:
    """The address of a running service, which logs to ``<name>.log``, and must end well on SIGTERM."""
    process = Process(module, options, folder, name, variables)
    try:
        yield process.address(PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, process.last_words()
    finally:
        process.kill()


def cli(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What ``unclip`` with these words does."""
    return subprocess.run(
        [sys.executable, "-m", "unclip.cli", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **variables},
    )
