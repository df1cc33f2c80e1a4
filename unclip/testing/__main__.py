"""``python -m unclip.testing``: runs stubs, and the real gateway in front, until SIGTERM; ``--help`` lists settings."""

from __future__ import annotations

import sys

from unclip.serving import quiet  # noqa: F401 (first: gRPC reads it when it is imported)

# isort: split

from unclip.serving.server import main
from unclip.testing.settings import Settings

if __name__ == "__main__":
    sys.exit(main("unclip.testing", Settings))
