"""A certificate that is not good now takes the place of none that is, and nobody starts with it."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.certificates import Authority, Files
from unclip.errors import ConfigurationError
from unclip.serving import tls
from unclip.serving.files import Watched

OLD, NEW = datetime.timedelta(days=-1), datetime.timedelta(days=90)  # good from day -3 to -1, and from day -1 to 90


class Clock:
    """What `unclip.serving.tls` takes for the time: now, and some days."""

    days = 0.0

    def time(self) -> float:
        return time.time() + self.days * 86400


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tls, "time", SimpleNamespace(time=clock.time))
    return clock


def watch(files: Files) -> Watched[tls.Material]:
    return tls.watch(str(files.cert), str(files.key), "")


def test_a_certificate_that_has_not_begun_is_refused_at_start(clock: Clock, tmp_path: Path) -> None:
    material = watch(Authority(tmp_path).issue("server", lasts=NEW)).value
    tls.require_current("server.pem", material)
    clock.days = -2
    with pytest.raises(ConfigurationError, match=r"server\.pem begins at .*Z: wait for it"):
        tls.require_current("server.pem", material)


def test_one_that_has_not_begun_is_taken_once_it_has(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, clock.days = Authority(tmp_path), -2
    watched = watch(authority.issue("server", lasts=OLD))
    before = watched.value
    after = authority.issue("server", lasts=NEW).serial
    assert [watched.value for _ in range(3)] == [before] * 3
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "stays in force" in told.message
    assert "begins at" in told.message
    clock.days = -0.5
    assert watched.value.serial == after


def test_one_that_has_ended_is_taken_only_where_the_one_before_has_too(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    watched = watch(authority.issue("server", lasts=NEW))
    before = watched.value
    ended = authority.issue("server", lasts=OLD).serial
    assert watched.value is before
    assert sum("stays in force" in record.message and "ended at" in record.message for record in caplog.records) == 1
    clock.days = 100
    assert watched.value.serial == ended
    clock.days = 0
    renewed = authority.issue("server", lasts=NEW).serial
    assert watched.value.serial == renewed
