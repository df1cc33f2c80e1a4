"""``python -m unclip.cli``: the command line ``unclip``."""

import sys

from unclip.cli import main

if __name__ == "__main__":
    sys.exit(main())
