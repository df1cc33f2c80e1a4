"""Files that a command is given, ``-`` for standard input."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from unclip.client.pictures import file_bytes
from unclip.client.vectors import MAX_FILE
from unclip.errors import InvalidRequest

STDIN = Path("-")


@dataclass(frozen=True)
class Source:
    """A picture file, read. name: of the file, for people. stem: without its ending."""

    data: bytes
    name: str
    stem: str


def read(path: Path, field: str) -> Source:
    """The picture file at ``path``, or on standard input. Raises InvalidRequest, naming ``field``."""
    if path == STDIN:
        return Source(file_bytes(sys.stdin.buffer, field), "standard input", "stdin")
    return Source(file_bytes(path, field), os.fsencode(path.name).decode("utf-8", "replace"), path.stem)


def embeddings_on_stdin() -> bytes:
    """What standard input has, as far as a file of embeddings may go."""
    return sys.stdin.buffer.read(MAX_FILE + 1)


def require_one_stdin(values: object) -> None:
    """Of all that a command is given, ``-`` may be one. Raises InvalidRequest."""
    lists = [value if isinstance(value, list) else [value] for value in vars(values).values()]
    count = sum(each == STDIN for items in lists for each in items if isinstance(each, Path))
    if count > 1:
        raise InvalidRequest.of("-", f"standard input can be one file only; got it as {count}")
