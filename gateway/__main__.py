"""``python -m gateway``: runs the gateway until SIGTERM; ``--help`` lists the settings."""

from __future__ import annotations

import sys

from gateway.settings import Settings
from unclip.serving.server import main

if __name__ == "__main__":
    sys.exit(main("gateway", Settings))
