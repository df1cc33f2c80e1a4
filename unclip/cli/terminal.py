"""What a terminal is given: lines in which nothing of a file or a server steers it, whatever its encoding."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from tqdm import tqdm

from unclip.escaping import escaped


def prepare() -> None:
    """Has what an output's encoding cannot say, an emoji or a file name that is not UTF-8, written as an escape.

    A stream that was closed before us (``>&-``) is empty, or throws away: else what is opened next would be it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def line(text: str, file: TextIO | None = None) -> None:
    """Prints ``text`` as one line, at once, its control characters escaped, above a progress bar where there is one.

    A reader that has left, such as `head`, ends no work: pictures are made and written without it.
    """
    stream = file or sys.stdout
    try:
        tqdm.write(escaped(text), file=stream)
        stream.flush()
    except BrokenPipeError:
        nobody_reads(stream)


def nobody_reads(stream: TextIO) -> None:
    """What is written to ``stream`` from now on is thrown away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
