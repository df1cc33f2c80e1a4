"""Log lines: one per event and one per call, with the request and the trace they belong to; text, or JSON.

Nothing that a caller sent is logged but the names in its request id, trace and key: no captions, no pictures, no keys.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from unclip.escaping import escaped
from unclip.serving import request_id, tracing
from unclip.serving.log_writer import Lines, Writer, to_stream
from unclip.serving.sparing import LogLimiter, causes, redacted

log = logging.getLogger(__name__)
LAST_LINES_S = 1.0  # that the end of a process waits for its log at most

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
CALL_FIELDS = ("client", "method", "code", "seconds")  # of the line that says how a call ended


class WithRequest(logging.Filter):
    """Gives every record the id and the trace of the request at hand, unless it brings them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        record.request_id = getattr(record, "request_id", "") or request_id.current.get() or "-"
        record.trace_id = getattr(record, "trace_id", "") or tracing.trace_id.get()
        return True


class TextFormatter(logging.Formatter):
    """One line, its control characters escaped, and the places of a failure below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line. Whatever is in it cannot pose as another, nor steer a terminal."""
        return escaped(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as text."""
        left_out = getattr(record, "left_out", 0)
        return super().format(record) + (f" ({left_out} lines like it left out)" if left_out else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message; request_id and trace_id where there are
    any; client, method, code and seconds of a call that ended; exception, of a failure its types and places; left_out,
    where lines of its kind were."""

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as a line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "trace_id", "left_out", *CALL_FIELDS):
            value = getattr(record, name, "")
            if value not in ("", "-"):
                fields[name] = value
        if record.exc_text:
            fields["exception"] = record.exc_text
        return escaped(json.dumps(fields, ensure_ascii=False))


class QueuedHandler(logging.Handler):
    """Hands lines to a `Writer`: redacted, and no more of a kind than `LogLimiter` lets pass."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer, self._limiter = writer, LogLimiter()

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits, never raises."""
        try:
            left_out = self._limiter.passes(record)
            if left_out is None:
                return
            cleaned = redacted(record)
            if left_out:
                cleaned = logging.makeLogRecord({**vars(cleaned), "left_out": left_out})
            self._writer.put(self.format(cleaned) + "\n")
        except Exception:
            self._writer.put("a log line could not be written\n")


@contextmanager
def stderr_that_never_waits() -> Iterator[Writer]:
    """Standard error, whoever writes there while the body runs, goes through the writer that this gives: a reader that
    is slow or gone costs lines, never time, but for `LAST_LINES_S` at the end."""
    stream = sys.stderr
    writer = Writer(to_stream(stream))
    sys.stderr = Lines(writer)
    try:
        yield writer
    finally:
        sys.stderr = stream
        writer.close(LAST_LINES_S)


@contextmanager
def logging_to(writer: Writer, level: str, format: str = "text") -> Iterator[None]:
    """Logs of this process go to ``writer`` while the body runs. format: text, json."""
    handler = QueuedHandler(writer)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(FORMAT))
    handler.addFilter(WithRequest())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    hooks = warnings.showwarning, sys.unraisablehook, threading.excepthook, sys.excepthook, logging.raiseExceptions
    warnings.showwarning, sys.unraisablehook, threading.excepthook, sys.excepthook = (
        log_warning,
        log_unraisable,
        log_thread_exception,
        log_exception,
    )
    logging.raiseExceptions = False  # handlers of others print a record that they cannot write, values and all
    try:
        yield
    finally:
        warnings.showwarning, sys.unraisablehook, threading.excepthook, sys.excepthook, logging.raiseExceptions = hooks
        logging.getLogger().removeHandler(handler)


def log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Logs a warning of Python's, but not what it says, which may have a caller's values in it."""
    log.warning("%s at %s:%d", category.__name__, filename, lineno)


def log_unraisable(failure: sys.UnraisableHookArgs) -> None:
    """Logs what Python could raise nowhere, likewise."""
    log.error("raised where nobody can catch it: %s", " ".join(causes(failure.exc_value)))


def log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Logs what would be shown on standard error, likewise: Cython, and so grpc.aio, has all that its callbacks raise
    shown like this, whole, before Python hears that nobody can catch it."""
    log.error("raised in native code: %s", " ".join(causes(error.with_traceback(trace))))


def log_thread_exception(failure: threading.ExceptHookArgs) -> None:
    """Logs what ended a thread, likewise."""
    log.error("a thread ended by %s", " ".join(causes(failure.exc_value)))
