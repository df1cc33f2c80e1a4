"""Folders whose parts are replaced together: what was there stays until all that is new is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from training.loop import asked_to_end

ASIDE = ".new-"
FILE_MODE = 0o644  # what is exported is read by others; libraries write some files for their owner alone


def require_whole(folder: Path, parts: Collection[str], seal: str) -> None:
    """Makes the folder where there is none. seal: the file without which ``parts`` are none of `replacing`'s.

    Raises:
        RuntimeError: some of the parts are there without it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=ASIDE, dir=folder):
            pass
    except OSError as error:
        raise RuntimeError(f"{folder}: cannot be written: {error}") from error
    found = sorted(set(parts) & {path.name for path in folder.iterdir()})
    left_by_killed = any(folder.glob(f"{ASIDE}*"))
    if found and not (folder / seal).exists() and not left_by_killed:
        raise RuntimeError(f"{folder}: has {', '.join(found)} and no {seal}: whatever that is, it is not replaced")


@contextmanager
def replacing(folder: Path, parts: Collection[str], seal: str) -> Iterator[Path]:
    """An empty folder whose content then takes the place of the ``parts`` and the seal in ``folder``, in which whatever
    else lies there stays. Where anything fails, or SIGTERM comes, all or none of it is done; a run that is killed at
    that moment leaves no seal, and the former parts in a folder beside the new ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{ASIDE}*"):
        shutil.rmtree(left)
    with TemporaryDirectory(prefix=ASIDE, dir=folder) as aside:
        new, old = Path(aside) / "new", Path(aside) / "old"
        new.mkdir()
        old.mkdir()
        yield new
        for path in new.rglob("*"):
            if path.is_file():
                path.chmod(FILE_MODE)
        names = [seal, *sorted({*parts, *(path.name for path in new.iterdir())} - {seal})]
        with asked_to_end() as ended:
            try:
                for name in names:
                    _move(folder / name, old / name)
                for name in reversed(names):
                    _move(new / name, folder / name)
            except OSError:
                for name in reversed(names):
                    if os.path.lexists(old / name):
                        _move(folder / name, new / name)
                        _move(old / name, folder / name)
                raise
            if ended():
                raise SystemExit(143)


def _move(path: Path, to: Path) -> None:
    """What is there, whatever it is, also a link to nothing."""
    if os.path.lexists(path):
        path.rename(to)
