"""The command line ``unclip``: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from unclip.cli.arguments import parser
from unclip.cli.exits import INTERRUPTED, exit_code, one_line
from unclip.errors import UnclipError
from unclip.extras import explained


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the result is the exit status, see ``unclip.cli.exits``."""
    options = parser().parse_args(arguments)
    try:
        with explained():
            status = options.run(options)
        sys.stdout.flush()
    except UnclipError as error:
        print(f"unclip: {one_line(error)}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("unclip: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has left; nothing is owed to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"unclip: {error}", file=sys.stderr)
        return 1
    return status or 0
