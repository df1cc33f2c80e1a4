"""A worker process: functions called in an interpreter of its own.

A library that holds Python's lock, as Pillow does while it decodes a WebP, then holds that of a process where nobody
else waits for it; one that crashes ends that process; and all of it can stand back behind what others do here. (A
thread can as well, but one that stands back while it holds the lock has everybody wait for it.)
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from unclip.malloc import return_large_blocks
from unclip.serving.sparing import traceback_without_texts

Result = TypeVar("Result")

NICENESS = 10  # of 19: about a tenth of the turns of others
PATIENCE_S = 60.0  # much more than what is bounded takes, even of a tenth of a processor
SIZE = struct.Struct("<Q")


class WorkerLost(Exception):
    """The process ended, or fell silent, at a call."""


class Worker:
    """A process that is started at its first call, and again at the first after it was lost. It ends with this one.

    For one thread at a time. patience: seconds that a call may take. niceness: how far it stands back, 0 to 19.
    """

    def __init__(self, patience: float = PATIENCE_S, niceness: int = NICENESS) -> None:
        self._patience, self._niceness = patience, niceness
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """``function(*arguments)``, which can all be pickled, as can what comes of it.

        Raises:
            WorkerLost: the process is gone; the next call has a new one.
            RuntimeError: the function raised what is no `UnclipError`: its type and places.
            UnclipError: whatever of the kind the function raised.
        """
        sent = pickle.dumps((function, arguments), pickle.HIGHEST_PROTOCOL)
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin, sent)
            answer = receive(process.stdout, time.monotonic() + self._patience)
        except (OSError, EOFError):
            self.close()
            raise WorkerLost from None
        except BaseException:
            self.close()  # its answer may still come, and is not that to the next call
            raise
        # It was written by our own code: what strangers sent went the other way.
        error, result = pickle.loads(answer)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """Ends the process, whatever it is at."""
        if self._process is not None:
            self._process = None
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)  # the same modules as here
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(self._niceness)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._end = weakref.finalize(self, end, process)
        return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a worker and lets go of it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def send(pipe: IO[bytes], message: bytes) -> None:
    """Writes one message, whole: a signal may cut a write short. Raises OSError."""
    for part in (SIZE.pack(len(message)), message):
        left = memoryview(part)
        while left:
            left = left[pipe.write(left) :]


def receive(pipe: IO[bytes], until: float = float("inf")) -> bytes:
    """One message of those that `SIZE` goes before.

    Raises:
        EOFError: the other end is gone, or has not sent it ``until`` then, `time.monotonic` seconds.
    """

    timed = until != float("inf")
    readable = select.poll()  # unlike select.select, of any number of open files
    if timed:
        readable.register(pipe, select.POLLIN)

    def read(size: int) -> bytes:
        parts = []
        while size:
            if timed and not readable.poll(1000 * max(0.0, until - time.monotonic())):
                raise EOFError
            part = pipe.read(min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    return read(SIZE.unpack(read(SIZE.size))[0])


def answer_to(asked: bytes) -> bytes:
    """What a worker answers: the error, or None, and the result."""
    from unclip.errors import UnclipError

    try:
        function, arguments = pickle.loads(asked)
        del asked  # megabytes, and so are the arguments
        return pickle.dumps((None, function(*arguments)), pickle.HIGHEST_PROTOCOL)
    except UnclipError as error:
        return pickle.dumps((error, None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        # Its text may be a caller's, its places are ours.
        places = "\n".join(traceback_without_texts(error))
        return pickle.dumps((RuntimeError(f"a worker process failed: {places}"), None), pickle.HIGHEST_PROTOCOL)


def main(niceness: int) -> None:
    """Answers what is asked at stdin until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; whoever started this ends it
    return_large_blocks()
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not answer
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            answer = answer_to(receive(asked))
            answers.write(SIZE.pack(len(answer)) + answer)
            answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
