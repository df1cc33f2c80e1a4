"""``python -m unclip.local.starter [--once] MODULE...``: imports modules once, and forks processes that have them.

It first writes a line, ``ready``, or why it will not fork. Then each line that it reads, a `Launch` as JSON, becomes a
process, of which it writes the line of `unclip.local.reaper.process_line`; and of each process that has ended it writes
``ended``, process id and exit status, negative for a signal. It ends when its input does, and leaves the processes be.
With ``--once`` it writes nothing, and becomes the first process it is told of.

Linux only. A fork copies one thread: it refuses where there are others, whose locks nobody would ever let go of; where
gRPC is, whose core has threads and files that a fork would share; and where there is a GPU, whose driver may have been
woken by an import and does not survive. See ``docs/architecture.md``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unclip.importing import uncollected
from unclip.local.reaper import process_line
from unclip.networks.idle_threads import spin_briefly

READY, ENDED = "ready", "ended"
ONCE = "--once"
# Said in the environment before the imports that read it, and taken back for the processes: numpy would start a thread
# of OpenBLAS for each core; torch would ask for a GPU in a way that a fork does not survive.
WHILE_IMPORTING = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
NAME_BYTES = 15  # of a process in Linux


@dataclass(frozen=True)
class Launch:
    """A process: ``python -m module`` with arguments, in a session of its own, whose output goes to a file."""

    module: str
    arguments: Sequence[str]
    log: str

    def line(self) -> bytes:
        """As the starter reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def run(self) -> None:
        """Runs the module in this process, which is there for that."""
        with contextlib.suppress(PermissionError):  # it leads one already
            os.setsid()
        files = (os.open(os.devnull, os.O_RDONLY), os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
        for number, file in enumerate((*files, files[1])):
            os.dup2(file, number)
        for file in files:
            os.close(file)
        Path("/proc/self/comm").write_text(self.module[:NAME_BYTES])  # for top and ps; they all have one command line
        sys.argv[1:] = self.arguments
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


def threads() -> int:
    """Of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def preload(modules: Sequence[str]) -> str:
    """Imports what ``modules`` are and need; the result is why this process must not be forked then, or ""."""
    added = [name for name in WHILE_IMPORTING if name not in os.environ]
    os.environ.update({name: WHILE_IMPORTING[name] for name in added})
    spin_briefly()
    try:
        with uncollected():
            for module in modules:
                importlib.import_module(module)
    except Exception as error:  # each process shall say so itself, as it does when it is started alone
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    torch = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    for name in added:
        del os.environ[name]
    if gpu:
        return "there is a GPU"
    if any(module.partition(".")[0] == "grpc" for module in sys.modules):
        return "gRPC was imported"
    return "" if (found := threads()) == 1 else f"there are {found} threads"


def say(line: str) -> None:
    """Writes a line at once: what a buffer holds, a fork doubles."""
    os.write(1, f"{line}\n".encode())


def fork(launch: Launch) -> int:
    """The id of a process of ``launch``; 0 in that process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 counts threads as well, and we have
        pid = os.fork()
    if pid:
        try:
            say(process_line(pid).strip())
        except BrokenPipeError:  # who asked for it is gone, and has told nobody of it
            os.kill(pid, signal.SIGKILL)
            raise
    return pid


def reap(pid: int) -> None:
    """Says with what status a child that has ended did."""
    say(f"{ENDED} {pid} {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


def launched() -> Launch | None:
    """Forks for each line of the input; the result is what this process shall become, None in the starter itself."""
    children: dict[int, int] = {}  # by descriptors
    unread = b""
    while True:
        for ready in select.select([0, *children], [], [])[0]:
            if ready in children:
                reap(children.pop(ready))
                os.close(ready)
                continue
            if not (data := os.read(0, 1 << 16)):
                return None
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                launch = Launch(**json.loads(line))
                if not (pid := fork(launch)):
                    for descriptor in children:
                        os.close(descriptor)
                    return launch
                children[os.pidfd_open(pid)] = pid


def become(modules: Sequence[str]) -> None:
    """Imports ``modules``, then runs what the first line of the input says; nothing if that ends before."""
    with contextlib.suppress(Exception), uncollected():  # see `preload`
        for module in modules:
            importlib.import_module(module)
    if line := sys.stdin.buffer.readline():
        Launch(**json.loads(line)).run()


def main() -> None:
    """See the module."""
    once, *modules = sys.argv[1:]
    if once == ONCE:
        return become(modules)
    gc.disable()
    if refusal := preload(sys.argv[1:]):
        return say(refusal)
    say(READY)
    if (launch := launched()) is not None:
        gc.enable()
        launch.run()
    return None


if __name__ == "__main__":
    main()
