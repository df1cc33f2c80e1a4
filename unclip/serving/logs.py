"""Log lines: one per event and one per call, with the request and the trace they belong to; text, or JSON.

Nothing that a caller sent is logged but the names in its request id, trace and key: no captions, no pictures, no keys.
"""

from __future__ import annotations

import datetime
import json
import logging

from unclip.serving import request_id, tracing

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
CALL_FIELDS = ("client", "method", "code", "seconds")  # of the line that tells how a call ended


class WithRequest(logging.Filter):
    """Gives every record the id and the trace of the request at hand, unless it brings them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        record.request_id = getattr(record, "request_id", "") or request_id.current.get() or "-"
        record.trace_id = getattr(record, "trace_id", "") or tracing.trace_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message; request_id and trace_id where there are
    any; client, method, code and seconds of a call that ended; exception, with its traceback, of a failure."""

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as a line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        told: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "trace_id", *CALL_FIELDS):
            value = getattr(record, name, "")
            if value not in ("", "-"):
                told[name] = value
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def configure_logs(level: str, format: str = "text") -> None:
    """Logs of this process to standard error. format: text or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else logging.Formatter(FORMAT))
    handler.addFilter(WithRequest())
    logging.basicConfig(level=level, handlers=[handler], force=True)
