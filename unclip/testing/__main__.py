"""``python -m unclip.testing``: runs stubs, and the real gateway in front, until SIGTERM; ``--help`` lists settings."""

from __future__ import annotations

import sys

from unclip.serving import quiet  # noqa: F401 (first: gRPC reads it when it is imported)

# isort: split

from unclip.errors import ConfigurationError
from unclip.extras import explained

if __name__ == "__main__":
    try:
        with explained():
            from unclip.serving.server import main
            from unclip.testing.settings import Settings
    except ConfigurationError as error:
        sys.exit(f"unclip.testing: {error}")
    sys.exit(main("unclip.testing", Settings))
