"""A process that imports once and forks others: they are as if each had been started by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unclip.local.processes import UNKNOWN_STATUS, ForkedProcess, Prepared, Running, Starter
from unclip.local.reaper import alive
from unclip.local.starter import WHILE_IMPORTING, Launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
# Says what it was born with, and ends as it is told.
SERVICE = """
import gc, os, sys, time
here = {
    "arguments": sys.argv[1:], "imported": "tomllib" in sys.modules, "leads": os.getsid(0) == os.getpid(),
    "collects": gc.isenabled(), "main": __name__, "input": sys.stdin.read(), "files": len(os.listdir("/proc/self/fd")),
    "blas": os.environ.get("OPENBLAS_NUM_THREADS"), "called": open("/proc/self/comm").read().strip(),
}
print(here, flush=True)
if "wait" in sys.argv:
    time.sleep(600)
sys.exit(7)
"""
Begin = Callable[..., Running]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules all processes find."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    for name in WHILE_IMPORTING:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path


@pytest.fixture
def starter(modules: Path) -> Iterator[Starter]:
    """One that has imported tomllib."""
    found = Starter(["tomllib"], modules / "starter.log")
    yield found
    found.close()


def launch(starter: Starter, folder: Path, *arguments: str) -> Running:
    """A process of the service, whose log is ``log``."""
    return starter.launch(Launch("service", arguments, str(folder / "log")))


def told(folder: Path) -> dict[str, object]:
    """What the service wrote, waiting for it."""
    while not (text := (folder / "log").read_text()).endswith("\n"):
        time.sleep(0.02)
    found: dict[str, object] = eval(text)
    return found


def test_a_forked_process_runs_its_module_with_what_was_imported(starter: Starter, modules: Path) -> None:
    process = launch(starter, modules, "--port", "1")

    assert isinstance(process, ForkedProcess)
    assert process.wait(30) == 7
    assert process.poll() == 7
    assert told(modules) == {
        "arguments": ["--port", "1"],
        "imported": True,
        "leads": True,
        "collects": True,
        "main": "__main__",
        "input": "",
        "files": 4,  # its three, and the folder that it counts
        "blas": None,
        "called": "service",
    }


def test_a_forked_process_takes_signals_and_tells_of_them_in_its_status(starter: Starter, modules: Path) -> None:
    first, second = (launch(starter, modules, "wait") for _ in range(2))
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.01)
    assert (first.poll(), second.poll()) == (None, None)

    second.terminate()
    first.kill()

    assert (first.wait(30), second.wait(30)) == (-signal.SIGKILL, -signal.SIGTERM)
    second.kill()  # nobody's process any more, and nobody else's


def test_processes_outlive_their_starter_and_others_start_by_themselves(starter: Starter, modules: Path) -> None:
    forked = launch(starter, modules, "wait")
    os.kill(starter.pid, signal.SIGKILL)
    assert forked.poll() is None
    forked.kill()
    assert forked.wait(30) == UNKNOWN_STATUS

    alone = launch(starter, modules)
    assert isinstance(alone, subprocess.Popen)
    assert alone.wait(30) == 7


@pytest.mark.parametrize(
    ("module", "refusal"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "2 threads"),
        ("import grpc", "gRPC was imported"),
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("import os; os._exit(3)", "it has ended"),
    ],
)
def test_where_a_fork_would_be_unsafe_processes_start_by_themselves(modules: Path, module: str, refusal: str) -> None:
    (modules / "shared.py").write_text(module)
    starter = Starter(["shared"], modules / "starter.log")
    try:
        process = launch(starter, modules)

        assert refusal in starter.refusal
        assert isinstance(process, subprocess.Popen)
        assert process.wait(30) == 7
        assert told(modules)["imported"] is False
    finally:
        starter.close()


def test_a_prepared_process_becomes_what_it_is_told_of_with_its_own_id(modules: Path) -> None:
    prepared = Prepared(["tomllib"], modules / "prepared.log")
    process = prepared.launch(Launch("service", ["--port", "1"], str(modules / "log")))

    assert process.wait(30) == 7
    found = told(modules)
    assert (found["arguments"], found["imported"], found["leads"], found["input"]) == (["--port", "1"], True, True, "")
    prepared.close()  # nothing is left of it to end


def test_a_prepared_process_that_is_told_nothing_ends_with_whoever_began_it(modules: Path) -> None:
    prepared, other = (Prepared(["tomllib"], modules / f"{number}.log") for number in range(2))
    other.close()
    assert (pid := prepared.pid) is not None
    assert alive(pid)

    prepared.close()

    assert not alive(pid)


def test_a_starter_whose_parent_is_gone_ends_and_leaves_nothing_that_nobody_knows_of(modules: Path) -> None:
    program = """
import os, pathlib, signal, sys
from unclip.local.processes import Starter
from unclip.local.starter import Launch
starter = Starter(["tomllib"], pathlib.Path(sys.argv[1]) / "starter.log")
assert not starter.refusal
os.kill(starter.pid, signal.SIGSTOP)
starter._orders.write(Launch("service", ["wait"], sys.argv[1] + "/log").line())
print(starter.pid, flush=True)
os._exit(0)
"""
    parent = subprocess.run(
        [sys.executable, "-c", program, str(modules)], stdout=subprocess.PIPE, text=True, check=True
    )
    starter = int(parent.stdout)
    os.kill(starter, signal.SIGCONT)  # it reads what it shall start when nobody is there any more to be told of it
    patience = time.monotonic() + 30
    while (alive(starter) or left_of(modules)) and time.monotonic() < patience:
        time.sleep(0.05)

    assert not alive(starter)
    assert not left_of(modules)


def left_of(modules: Path) -> list[str]:
    """Processes that have the folder in their environment."""
    every = Path("/proc").glob("[0-9]*")
    return [folder.name for folder in every if str(modules).encode() in environment_of(folder)]


def environment_of(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:  # it has ended, or is none of ours
        return b""
