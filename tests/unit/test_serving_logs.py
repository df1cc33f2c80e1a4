"""Log lines as JSON: one object a line, whatever happens, with the request and the trace they belong to."""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from typing import Any

import pytest

from unclip import serving
from unclip.errors import ConfigurationError
from unclip.serving import request_id, trace_export, tracing
from unclip.serving.logs import JsonFormatter, WithRequest
from unclip.serving.metadata import sanitized
from unclip.serving.settings import ServerSettings
from unclip.serving.sparing import redacted

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def line(message: str, *values: object, error: bool = False, **extra: object) -> dict[str, Any]:
    """What is logged, read back; it must be one line."""
    record = logging.LogRecord(
        "unclip.b", logging.WARNING, "x.py", 1, message, values, sys.exc_info() if error else None
    )
    vars(record).update(extra)
    WithRequest().filter(record)
    text = JsonFormatter().format(redacted(record))
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_says_when_how_bad_where_and_what() -> None:
    told = line('%d of "%s"\nand more', 3, "ü")
    moment = datetime.datetime.fromisoformat(told.pop("time"))
    assert moment.utcoffset() == datetime.timedelta(0)
    assert told == {"level": "WARNING", "logger": "unclip.b", "message": '3 of "ü"\nand more'}


def test_a_failure_brings_its_type_and_places_but_not_what_it_says() -> None:
    try:
        raise ValueError("over\ntwo lines")
    except ValueError:
        told = line("failed", error=True)
    assert re.fullmatch(
        r"builtins\.ValueError, at\n  \S+test_serving_logs\.py:\d+ test_a_failure\w+", told["exception"]
    )


def test_the_request_and_trace_at_hand_are_in_every_line() -> None:
    token = request_id.current.set("r1")
    try:
        tracing.serving("s/m", sanitized([("traceparent", PARENT)]))
        told = line("x")
    finally:
        request_id.current.reset(token)
        tracing.trace_id.set("")
    assert (told["request_id"], told["trace_id"]) == ("r1", PARENT[3:35])


@pytest.mark.parametrize("parent", ["", "x", PARENT.upper(), PARENT + "-more", b"\xff"])
def test_a_malformed_trace_is_no_trace(parent: str | bytes) -> None:
    tracing.serving("s/m", sanitized([("traceparent", parent)]))
    assert "trace_id" not in line("x")


def test_how_a_call_ended_is_told_by_fields() -> None:
    told = line("x", method="s/m", code="OK", seconds=0.25, client="alice", request_id="r2", trace_id="")
    assert {name: told[name] for name in ("method", "code", "seconds", "client", "request_id")} == {
        "method": "s/m",
        "code": "OK",
        "seconds": 0.25,
        "client": "alice",
        "request_id": "r2",
    }


def test_without_an_endpoint_nothing_is_traced_and_nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in trace_export.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "unclip.serving.otel", None)  # importing it would fail,
    monkeypatch.delattr(serving, "otel", raising=False)  # and other tests did
    trace_export.start("auto", "x")()
    monkeypatch.setenv(trace_export.ENDPOINTS[0], "http://127.0.0.1:1")
    trace_export.start("off", "x")()
    trace_export.start("auto", "x")()  # warns, and serves on
    with pytest.raises(ConfigurationError, match=r"unclip\[otel\]"):
        trace_export.start("on", "x")
    assert tracing.tracer is None


@pytest.mark.parametrize("setting", ["log_format", "tracing"])
def test_words_that_are_no_setting_are_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting} must be .*; got 'loud'"):
        ServerSettings(**{setting: "loud"})  # type: ignore[arg-type]
