"""The prior service with a leak: it keeps a little of every request. The control of `test_state_cleanup`."""

from __future__ import annotations

import sys
from typing import Any

import prior_svc.servicer
from prior_svc.settings import Settings
from unclip.serving.server import main

KEPT: list[bytearray] = []
servicer: Any = prior_svc.servicer
read_sample = servicer.read_sample


def leaking(*arguments: Any) -> Any:
    """As `read_sample`, and 128 KiB are never seen again."""
    KEPT.append(bytearray(b"x" * 128 * 1024))
    return read_sample(*arguments)


if __name__ == "__main__":
    servicer.read_sample = leaking
    sys.exit(main("prior_svc", Settings))
