"""Services as processes of their own, and the processor time they use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

GRACE_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """``python -m module options``, started at once; a context manager that ends it.

    The module takes ``--address-file`` as the services do: what the file holds once it appears is `address`.
    """

    def __init__(self, module: str, options: Sequence[str], folder: Path, name: str = "") -> None:
        """folder: for the address and the log; name: of those files, the module's when empty."""
        self.name = name or module
        self._file, self._log = folder / f"{self.name}.address", folder / f"{self.name}.log"
        self._file.unlink(missing_ok=True)
        command = [sys.executable, "-m", module, "--address-file", str(self._file), *options]
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def address(self, patience: float = 300.0) -> str:
        """``host:port``, once it is ready.

        Raises:
            RuntimeError: it ended, or took longer than ``patience`` seconds.
        """
        end = time.monotonic() + patience
        while not self._file.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return self._file.read_text().strip()

    @property
    def cpu_seconds(self) -> float:
        """Processor time it has used, all threads together; counted in hundredths."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS  # utime and stime

    def memory(self) -> int:
        """The most bytes that it has had in RAM."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
