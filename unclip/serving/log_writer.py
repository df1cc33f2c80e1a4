"""Writes log lines on a thread of its own: who logs never waits for who reads the log."""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

MOST_WAITING = 1 << 20  # bytes
STUCK_S = 0.5
MOST_PRINTED, PRINTED_PER_SECOND = 1000, 10


class Writer:
    """Lines for ``write``, in order. Those that come while a mebibyte waits are dropped, and their number logged."""

    def __init__(self, write: Callable[[bytes], None], most: int = MOST_WAITING) -> None:
        self._write, self._most = write, most
        self._lines: deque[bytes] = deque()
        self._waiting, self._dropped, self._writing, self._closed = 0, 0, False, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="unclip-log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Has a line, with its newline, written soon."""
        data = line.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._waiting + len(data) > self._most:
                self._dropped += 1
                return
            self._lines.append(data)
            self._waiting += len(data)
            self._changed.notify_all()

    def flush(self, patience: float) -> bool:
        """Waits until all is written, ``patience`` seconds at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._dropped and not self._writing, patience)

    def close(self, patience: float) -> None:
        """Writes what it can in that time. A thread that hangs in a full pipe ends with the process."""
        self.flush(patience)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while data := self._next():
            with contextlib.suppress(OSError, ValueError):  # a pipe without a reader, a file that was closed
                self._write(data)

    def _next(self) -> bytes:
        """All that waits, once something does; nothing once it is closed."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._lines or self._dropped)
            if self._closed:
                return b""
            if self._dropped:
                self._lines.append(b"%d log lines were dropped: nobody read them in time\n" % self._dropped)
            data = b"".join(self._lines)
            self._lines.clear()
            self._waiting, self._dropped, self._writing = 0, 0, True
            return data


def to_file(descriptor: int) -> Callable[[bytes], None]:
    """What writes all of its bytes to a file descriptor, be it one of those that do not block."""

    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                select.select((), (descriptor,), (), STUCK_S)

    return write


def to_stream(stream: TextIO) -> Callable[[bytes], None]:
    """What writes to ``stream``: past its buffer, whose lock nobody else shall wait for, where there is a file."""
    try:
        return to_file(stream.fileno())
    except (OSError, ValueError, AttributeError):  # a test's
        return lambda data: print(data.decode(), end="", file=stream, flush=True)


class Lines(io.TextIOBase):
    """A stream for what writes to standard error by itself: whole texts go to ``writer``, a thousand and then ten a
    second."""

    def __init__(self, writer: Writer, descriptor: int = 2, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer, self._descriptor, self._part, self._clock = writer, descriptor, "", clock
        self._lock = threading.Lock()
        self._may, self._since = float(MOST_PRINTED), clock()

    def write(self, text: str) -> int:
        """Takes text."""
        with self._lock:
            whole, newline, self._part = (self._part + text).rpartition("\n")
            if len(self._part) > MOST_WAITING:
                self._part = ""
        if newline and self._passes():
            self._writer.put(whole + newline)
        return len(text)

    def _passes(self) -> bool:
        now = self._clock()
        self._may, self._since = min(MOST_PRINTED, self._may + (now - self._since) * PRINTED_PER_SECOND), now
        if self._may < 1:
            return False
        self._may -= 1
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of standard error itself."""
        return self._descriptor
