"""The reaper ends the processes it was told of, and never another one that has got their number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unclip.local.reaper import ProcessHandle, end, process_line

SLEEP = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")
DEAF = (
    *(sys.executable, "-c"),
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)",
)


@pytest.fixture(params=[SLEEP, DEAF], ids=["sleeps", "deaf"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(request.param, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        yield running
        running.kill()


def test_a_process_is_ended_politely_and_then_for_certain(process: subprocess.Popen[bytes]) -> None:
    held = ProcessHandle.open(process_line(process.pid))
    assert held
    assert not held.ended
    end([held], grace=0.3)
    assert process.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)
    assert held.ended
    held.send(signal.SIGKILL)  # nobody is there any more


def test_a_number_that_another_process_has_by_now_is_not_its(process: subprocess.Popen[bytes]) -> None:
    number, began = process_line(process.pid).split()
    assert ProcessHandle.open(f"{number} {int(began) - 1}") is None  # one that began earlier had it
    assert process.poll() is None


def test_a_process_that_was_held_is_not_followed_by_the_next_of_its_number(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE) as first:
        held = ProcessHandle.open(process_line(first.pid))
        assert held
        first.kill()
    # As if the system had given the number of the first to the other one:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    end([ProcessHandle(process.pid, held.descriptor)], grace=0)
    assert not killed
    assert process.poll() is None


def test_one_that_is_over_before_the_minder_hears_of_it_is_left_out(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        line = process_line(process.pid)
    assert ProcessHandle.open(line) is None
