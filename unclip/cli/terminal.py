"""What a terminal is given: lines in which nothing of a file or a server steers it, whatever its encoding."""

from __future__ import annotations

import io
import sys
from typing import TextIO

from tqdm import tqdm

from unclip.escaping import escaped


def prepare() -> None:
    """Has what an output's encoding cannot say, an emoji or a file name that is not UTF-8, written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def line(text: str, file: TextIO | None = None) -> None:
    """Prints ``text`` as one line, its control characters escaped, above a progress bar where there is one."""
    tqdm.write(escaped(text), file=file or sys.stdout)
