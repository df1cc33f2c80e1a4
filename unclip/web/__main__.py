"""``python -m unclip.web``: serves OpenAI's Images API and the studio until SIGTERM; ``--help`` lists settings."""

from __future__ import annotations

import sys

from unclip.serving import quiet  # noqa: F401 (first: gRPC reads it when it is imported)

# isort: split

from unclip.errors import ConfigurationError
from unclip.extras import explained

if __name__ == "__main__":
    try:
        with explained():
            from unclip.web.server import main
    except ConfigurationError as error:
        sys.exit(f"web: {error}")
    sys.exit(main())
