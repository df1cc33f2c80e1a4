"""Log lines: one per event, with the request they belong to."""

from __future__ import annotations

import logging

from unclip.serving import request_id

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


class _WithRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.current.get() or "-"
        return True


def configure_logs(level: str) -> None:
    """Logs of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(_WithRequestId())
    logging.basicConfig(level=level, handlers=[handler], force=True)
