"""``python -m decoder_svc``: runs the decoder service until SIGTERM; ``--help`` lists the settings."""

from __future__ import annotations

import sys

from unclip.serving import quiet  # noqa: F401 (first: gRPC reads it when it is imported)

# isort: split

from decoder_svc.settings import Settings
from unclip.serving.server import main

if __name__ == "__main__":
    sys.exit(main("decoder_svc", Settings))
