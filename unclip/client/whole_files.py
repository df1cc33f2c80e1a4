"""Files that are there whole or not at all, however their writing ends."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Writes ``path`` anew; what was there stays until all is written. Raises OSError, naming ``path``."""
    with naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        beside = Path(name)
        with unlinked_on_failure(beside):
            with os.fdopen(handle, "wb") as file:
                umask = os.umask(0)
                os.umask(umask)
                beside.chmod(0o666 & ~umask)
                write_all(file.fileno(), data)
            beside.replace(path)


def create(path: Path, data: bytes) -> None:
    """Writes a new file. Raises OSError, naming ``path``: FileExistsError where one is there."""
    with naming(path), path.open("xb") as file, unlinked_on_failure(path):
        write_all(file.fileno(), data)


def write_all(handle: int, data: bytes) -> None:
    """Writes all of ``data``, or raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


@contextlib.contextmanager
def unlinked_on_failure(path: Path) -> Iterator[None]:
    """Takes ``path`` away again where what is done fails, or is interrupted."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has an OSError say which file it is about, not which one beside it nor none: a full disk names nothing."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
