"""Whether spans are kept and sent, as settings and environment say. Apart from `unclip.serving.tracing`, which what is
started here imports."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from unclip.errors import ConfigurationError
from unclip.serving import tracing

log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def start(mode: str, stage: str) -> Callable[[], None]:
    """Has spans sent by OTLP where ``mode`` is "on", or "auto" and the environment names an endpoint; call the result
    to send the last ones and stop. The standard OTEL_ variables say where to, as whom, and which to sample.

    Raises:
        ConfigurationError: "on" without the packages.
    """
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if mode == "off" or (mode == "auto" and (disabled or not any(os.environ.get(name) for name in ENDPOINTS))):
        return lambda: None
    try:
        from unclip.serving import otel  # imports that only who traces shall pay for

        tracing.tracer, stop = otel.start(stage)
    except ImportError as error:
        if mode == "on":
            raise ConfigurationError(f"tracing needs pip install 'unclip[otel]': {error}") from error
        log.warning("no traces although the environment names an endpoint: pip install 'unclip[otel]' (%s)", error)
        return lambda: None

    def stopped() -> None:
        tracing.tracer = None
        stop()

    return stopped
