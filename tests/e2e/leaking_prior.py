"""The prior service with a leak: it keeps a little of every request. The control of `test_state_cleanup`."""

from __future__ import annotations

import sys
from typing import Any

from prior_svc.settings import Settings
from unclip.serving.server import main
from unclip.wire.tasks import SampleTask

KEPT: list[bytearray] = []
read: Any = SampleTask.from_proto


def leaking(*arguments: Any) -> Any:
    """As `SampleTask.from_proto`, and 128 KiB are never seen again."""
    KEPT.append(bytearray(b"x" * 128 * 1024))
    return read(*arguments)


if __name__ == "__main__":
    SampleTask.from_proto = leaking  # type: ignore[method-assign,assignment]
    sys.exit(main("prior_svc", Settings))
