"""The command line ``unclip``: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from unclip.cli import report, terminal
from unclip.cli.arguments import parser
from unclip.cli.exits import FAILED, INTERRUPTED, WRONG, Ended, ended
from unclip.cli.parsing import Misused
from unclip.cli.requests import in_flags
from unclip.cli.sources import require_one_stdin
from unclip.errors import InvalidRequest, UnclipError
from unclip.extras import explained


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the result is the exit status, see ``unclip.cli.exits``.

    Raises:
        SystemExit: of --help, --version, and arguments that make no sense.
    """
    terminal.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = parser().parse_args(given)
    except Misused as error:
        sys.exit(tell(Ended(WRONG, "USAGE", str(error)), "--json" in given, []))
    except KeyboardInterrupt:
        return tell(Ended(INTERRUPTED, "INTERRUPTED", "interrupted"), "--json" in given, [])
    options.made = []  # the pictures that are written, as JSON
    try:
        return run(options)
    except BrokenPipeError:  # the reader of our output, such as `head`, has left; nothing is owed to it
        terminal.nobody_reads(sys.stdout)
        return 0


def run(options: argparse.Namespace) -> int:
    """Runs the command, and tells how it failed where it does. Raises BrokenPipeError."""
    try:
        require_one_stdin(options)
        with explained():
            status = options.run(options)
        sys.stdout.flush()
        return status or 0
    except InvalidRequest as error:
        how = ended(in_flags(error, options.command), error.request_id)
    except UnclipError as error:
        how = ended(error, error.request_id)
    except KeyboardInterrupt:
        how = Ended(INTERRUPTED, "INTERRUPTED", "interrupted")
    except BrokenPipeError:
        raise
    except OSError as error:
        named = error.filename is not None and error.strerror
        how = Ended(FAILED, "OS_ERROR", f"{error.filename}: {error.strerror}" if named else str(error))
    return tell(how, getattr(options, "json", False), options.made)


def tell(how: Ended, as_json: bool, made: Sequence[object]) -> int:
    """Says how the command ended, and which pictures are there all the same; gives the exit status."""
    first, *log = how.message.split("\n") if how.lines else [how.message]
    terminal.line(f"unclip: {first}", sys.stderr)
    for text in log:
        terminal.line(text, sys.stderr)
    if made:
        terminal.line(f"unclip: {len(made)} finished before that, and kept", sys.stderr)
    if as_json:
        try:
            report.print_json({"error": how.fields(), **({"images": made} if made else {})})
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError:  # a full disk: all is said on stderr
            terminal.nobody_reads(sys.stdout)
    return how.status
