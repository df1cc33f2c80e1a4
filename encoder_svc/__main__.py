"""``python -m encoder_svc``: runs the encoder service until SIGTERM; ``--help`` lists the settings."""

from __future__ import annotations

import sys

from encoder_svc.settings import Settings
from unclip.serving.server import main

if __name__ == "__main__":
    sys.exit(main("encoder_svc", Settings))
