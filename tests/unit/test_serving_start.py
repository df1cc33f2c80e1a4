"""A process that cannot start says so and ends, whether or not somebody reads what it says."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from unclip.errors import ConfigurationError
from unclip.serving import server
from unclip.serving.settings import ServerSettings

HUNG_S = 20.0


@pytest.fixture(autouse=True)
def log_of_the_process() -> Iterator[None]:
    """As it was before a process took it."""
    root = logging.getLogger()
    before, level = [*root.handlers], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def run(failure: Exception | None, *arguments: str) -> int:
    """The exit status of a process that is started with these; ``failure`` is raised once it has its settings."""

    def fail(*_: object) -> int:
        assert failure is not None
        logging.getLogger("unclip").error("about to fail")
        raise failure

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "_run", fail)
        try:
            return server.main("gateway", ServerSettings, arguments)
        except SystemExit as ended:  # argparse's
            return int(str(ended.code))


CASES = [
    pytest.param(None, ["--nope"], 2, "unrecognized arguments: --nope", id="an unknown flag"),
    pytest.param(None, ["--drain", "-1"], 2, "gateway: drain must be", id="a value out of range"),
    pytest.param(ConfigurationError("no such file"), [], 2, "gateway: no such file", id="settings that do not work"),
    pytest.param(RuntimeError("no device"), [], 1, "RuntimeError: no device", id="what nobody foresaw"),
]


@pytest.mark.parametrize(("failure", "arguments", "status", "said"), CASES)
def test_it_says_why(
    failure: Exception | None, arguments: list[str], status: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(failure, *arguments) == status
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(("failure", "arguments", "status", "said"), CASES)
def test_it_ends_although_the_pipe_to_its_log_is_full(
    failure: Exception | None, arguments: list[str], status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b".")
    os.set_blocking(write, True)
    hung = threading.Event()

    def release() -> None:
        hung.set()
        os.read(read, 1 << 20)

    timer = threading.Timer(HUNG_S, release)
    timer.start()
    with os.fdopen(write, "w", buffering=1, closefd=False) as stream, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stream)
        ended = run(failure, *arguments)
    timer.cancel()
    os.read(read, 1 << 20)  # what waits can be written now
    for thread in set(threading.enumerate()) - before:
        if thread.name == "unclip-log":
            thread.join(HUNG_S)
    os.close(read)
    os.close(write)
    assert (ended, hung.is_set()) == (status, False)


LOOK = """
import runpy, sys
class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print("quiet" if "unclip.serving.quiet" in sys.modules else "loud")
sys.meta_path.insert(0, Look())
module, sys.argv = sys.argv[1], ["", "--nope"]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["gateway", "unclip.testing"])
def test_grpc_is_silenced_before_it_is_imported(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOOK, module], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "quiet\n")
