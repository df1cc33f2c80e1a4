"""Services as processes, for tests that look at them from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 90.0


@contextmanager
def service(
    module: str, folder: Path, *options: str, variables: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[str]:
    """The address of a running service, whose standard error goes to ``log``; it must end well on SIGTERM."""
    file, errors = folder / f"{module}.address", log or folder / f"{module}.log"
    with errors.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--address-file", str(file), *options],
            stderr=out,
            env={**os.environ, **(variables or {})},
        )
    try:
        end = time.monotonic() + PATIENCE_S
        while not file.exists():
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < end, "not ready in time"
            time.sleep(0.05)
        yield file.read_text().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, errors.read_text()
    finally:
        process.kill()
        process.wait()


def free_address() -> str:
    """A ``host:port`` that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def cli(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What ``unclip`` with these words does."""
    return subprocess.run(
        [sys.executable, "-m", "unclip.cli", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **variables},
    )
