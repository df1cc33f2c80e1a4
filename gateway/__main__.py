"""``python -m gateway``: serves the public API in front of the stages named by its settings."""

from __future__ import annotations

import sys

from gateway.app import build
from gateway.settings import Settings
from unclip.serving.server import run
from unclip.serving.settings import parse

if __name__ == "__main__":
    sys.exit(run(parse(Settings, sys.argv[1:], "gateway"), "gateway", build))
