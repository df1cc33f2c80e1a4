"""A worker process calls functions elsewhere: what they give and raise comes back, whatever becomes of it."""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import resource
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from unclip.errors import InvalidRequest, Overloaded, PreconditionFailed, ReplicaLost, UnclipError
from unclip.serving.worker import Worker, WorkerLost, receive, send

SECRET = "what a caller sent"


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(patience=30)
    yield made
    made.close()


def shout(word: str) -> str:
    print("said on the way", word)
    return word.upper()


def fail() -> None:
    raise ValueError(SECRET)


def refuse(error: UnclipError) -> None:
    raise error


def test_what_a_function_gives_comes_back_even_if_it_prints(worker: Worker) -> None:
    assert worker.call(shout, "a" * 3_000_000) == "A" * 3_000_000
    assert worker.call(len, "ab") == 2


def test_a_failure_is_told_by_its_places_and_without_its_text(worker: Worker) -> None:
    with pytest.raises(RuntimeError, match="ValueError") as failed:
        worker.call(fail)
    assert "fail" in str(failed.value)
    assert SECRET not in str(failed.value)
    assert worker.call(len, "") == 0


def test_an_error_of_ours_is_raised_as_it_was(worker: Worker) -> None:
    with pytest.raises(PreconditionFailed, match="no such thing") as refused:
        worker.call(refuse, PreconditionFailed("edit", "no such thing"))
    assert refused.value.subject == "edit"


@pytest.mark.parametrize(
    "error", [InvalidRequest.of("image", "is bad"), Overloaded("full", 2.5, "PIXELS"), ReplicaLost("prior", "p-1", "x")]
)
def test_errors_are_the_same_once_pickled(error: UnclipError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_a_message_is_written_whole_though_each_write_is_cut_short() -> None:
    class Narrow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(data[:3])

    pipe = Narrow()
    send(pipe, b"a longer message")
    pipe.seek(0)
    assert receive(pipe) == b"a longer message"


def test_one_that_ends_is_replaced_at_the_next_call(worker: Worker) -> None:
    before = worker.call(os.getpid)
    with pytest.raises(WorkerLost):
        worker.call(os._exit, 3)
    assert worker.call(os.getpid) != before


def test_one_that_falls_silent_is_killed() -> None:
    worker = Worker(patience=0.2)
    with pytest.raises(WorkerLost):
        worker.call(time.sleep, 60)


def test_it_ends_with_whoever_started_it() -> None:
    worker = Worker(patience=30)
    number = worker.call(os.getpid)
    del worker
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_an_answer_is_waited_for_however_many_files_are_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 4096 else max(soft, 4096), hard))
    read, write = os.pipe()
    try:
        high = fcntl.fcntl(read, fcntl.F_DUPFD, 1500)
        with os.fdopen(high, "rb", buffering=0) as far, os.fdopen(write, "wb", buffering=0) as near:
            send(near, b"an answer")
            assert receive(far, time.monotonic() + 5) == b"an answer"
    finally:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_answer_to_a_call_that_broke_off_is_not_that_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    try:
        with monkeypatch.context() as patched:
            patched.setattr("unclip.serving.worker.receive", Mock(side_effect=MemoryError))
            with pytest.raises(MemoryError):
                worker.call(abs, -4)
        assert worker.call(abs, -5) == 5
    finally:
        worker.close()
