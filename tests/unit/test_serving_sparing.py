"""A log holds no more of one kind than its reader can bear, and nothing that a caller sent."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from unclip.serving import logs
from unclip.serving.sparing import CALLS, FAILURES, OTHERS, REMEMBERED, LogLimiter

SECRET = "unclip_s3cr3t"


class Log:
    """What a process logs; `text` once the body of `open` is over."""

    def __init__(self, format: str) -> None:
        self.format, self.out = format, io.StringIO()

    @contextmanager
    def open(self) -> Iterator[None]:
        root = logging.getLogger()
        before, level, stderr = [*root.handlers], root.level, sys.stderr
        sys.stderr = self.out
        try:
            with logs.stderr_that_never_waits() as writer, logs.logging_to(writer, "INFO", self.format):
                yield
        finally:
            sys.stderr = stderr
            root.handlers[:] = before
            root.setLevel(level)

    @property
    def text(self) -> str:
        told = self.out.getvalue()
        if self.format == "json":
            assert all(isinstance(json.loads(line), dict) for line in told.splitlines())
        return told


@pytest.fixture(params=["text", "json"])
def log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


def test_others_lines_keep_their_template_and_lose_their_values(log: Log) -> None:
    other = logging.getLogger("grpc._cython.cygrpc")
    with log.open():
        try:
            raise KeyError(SECRET)
        except KeyError:
            other.exception("Invalid encoding on %s", SECRET)
        other.error(f"exception=UnicodeDecodeError('utf-8', {SECRET!r})")
        other.error("what %s was %(x)s", {"x": SECRET})  # malformed, too
        other.addHandler(theirs := logging.StreamHandler(printed := io.StringIO()))
        with contextlib.redirect_stderr(printed):
            other.error("%d", SECRET)
        other.removeHandler(theirs)
    assert SECRET not in printed.getvalue()
    assert SECRET not in log.text
    assert "Invalid encoding on %s KeyError" in log.text
    assert log.text.count("test_serving_sparing.py:") >= 3


def test_what_python_tells_by_itself_is_told_without_values(log: Log) -> None:
    class Sick:
        def __del__(self) -> None:
            raise ValueError(SECRET)

    def fail() -> None:
        raise ValueError(SECRET)

    with log.open():
        warnings.warn(SECRET, RuntimeWarning, stacklevel=1)
        del [Sick()][0]
        # pytest has a hook of its own for threads
        threading.excepthook(threading.ExceptHookArgs((ValueError, ValueError(SECRET), None, None)))
        for _ in range(1000):  # as Cython does for what a callback of grpc.aio raises
            sys.excepthook(ValueError, ValueError(SECRET), None)
    told = log.text
    assert "raised in native code: ValueError" in told
    assert told.count("raised in native code") < 100
    assert SECRET not in told
    assert "RuntimeWarning at " in told
    assert "raised where nobody can catch it: ValueError" in told
    assert "a thread ended by ValueError" in told


def test_our_own_lines_are_whole_but_for_what_exceptions_say(log: Log) -> None:
    with log.open():
        try:
            try:
                raise KeyError(SECRET)
            except KeyError as error:
                error.add_note(SECRET)
                raise RuntimeError(f"no {SECRET}") from error
        except RuntimeError:
            logging.getLogger("unclip.serving").exception("%s failed", "it")
    told = log.text
    assert SECRET not in told
    assert "it failed" in told
    assert "builtins.RuntimeError, at" in told
    assert "because of builtins.KeyError, at" in told
    place = r"test_serving_sparing\.py:\d+ test_our_own_lines_are_whole"
    assert len(re.findall(place, told)) == 2


def test_a_value_in_a_line_cannot_pose_as_another_line_nor_steer_a_terminal(log: Log) -> None:
    with log.open():
        logging.getLogger("unclip.serving").error("of %s", "x\n2026-01-01 ERROR \x1b[31m\x9b1m \r\u2028")
    assert len(log.text.splitlines()) == 1
    assert log.text.rstrip("\n").isprintable()


def record(name: str, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "levelno": level, **more})


@pytest.mark.parametrize(
    ("one", "pace"),
    [
        (record("grpc._cython.cygrpc", logging.ERROR), OTHERS),
        (record("unclip.serving.interceptors", logging.ERROR), FAILURES),
        (record("unclip.calls", peer="ipv4:127.0.0.1:1"), CALLS),
    ],
)
def test_a_flood_of_one_kind_is_cut_and_its_length_told(one: logging.LogRecord, pace: object) -> None:
    now = [0.0]
    sparing = LogLimiter(lambda: now[0])
    assert isinstance(pace, type(OTHERS))
    passed = [sparing.passes(one) for _ in range(10_000)]
    assert sum(each is not None for each in passed) == pace.burst
    assert sparing.passes(record("unclip.calls", peer="ipv4:127.0.0.1:2")) == 0  # nobody else's lines are missing
    now[0] = 1 / pace.per_second
    assert sparing.passes(one) == 10_000 - pace.burst
    assert sparing.passes(one) is None


def test_what_is_remembered_of_kinds_is_bounded() -> None:
    sparing = LogLimiter()
    for number in range(3 * REMEMBERED):
        sparing.passes(record("unclip.calls", peer=f"ipv4:127.0.0.1:{number}"))
    assert len(sparing._kinds) == REMEMBERED
