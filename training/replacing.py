"""Folders whose parts are replaced together: what was there stays until all that is new is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from training.loop import asked_to_end

ASIDE = ".new-"
LEAVING, GONE = "old", "gone"  # where former parts lie while some still leave, and once all have left
FILE_MODE = 0o644  # what is exported is read by others; libraries write some files for their owner alone


def require_whole(folder: Path, parts: Collection[str], seal: str) -> None:
    """Puts back what a killed run left half replaced, and leaves nothing that was not there. seal: the file without
    which ``parts`` are none of `replacing`'s.

    Raises:
        RuntimeError: some of the parts are there without it, or the folder cannot be written.
    """
    try:
        put_back(folder, parts, seal)
        nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        with TemporaryDirectory(prefix=ASIDE, dir=nearest):
            pass
    except OSError as error:
        raise RuntimeError(f"{folder}: cannot be written: {error}") from error
    found = [name for name in sorted(parts) if os.path.lexists(folder / name)]
    if found and not (folder / seal).exists():
        raise RuntimeError(f"{folder}: has {', '.join(found)} and no {seal}: whatever that is, it is not replaced")


@contextmanager
def replacing(folder: Path, parts: Collection[str], seal: str) -> Iterator[Path]:
    """An empty folder whose content, the seal and some of the ``parts``, then takes the place of theirs in ``folder``,
    in which whatever else lies there stays. Where anything fails or ends the run, all or none of it is done; SIGTERM
    waits until all is. What a run that was killed meanwhile has left is put back by the next."""
    folder.mkdir(parents=True, exist_ok=True)
    put_back(folder, parts, seal)
    aside = Path(mkdtemp(prefix=ASIDE, dir=folder))
    new, leaving = aside / "new", aside / LEAVING
    new.mkdir()
    leaving.mkdir()
    with asked_to_end() as ended:
        try:
            yield new
            assert {seal} <= {path.name for path in new.iterdir()} <= {seal, *parts}
            for path in new.rglob("*"):
                if path.is_file():
                    path.chmod(FILE_MODE)
            names = [seal, *sorted(parts)]
            for name in names:
                _move(folder / name, leaving / name)
            leaving.rename(aside / GONE)
            for name in reversed(names):
                _move(new / name, folder / name)
        finally:
            put_back(folder, parts, seal)
        if ended():
            raise SystemExit(143)


def put_back(folder: Path, parts: Collection[str], seal: str) -> None:
    """Ends what `replacing` began: where the new seal is in its place all is, else the former parts are put back. It
    can be cut short itself, and is taken up by the next."""
    for aside in folder.glob(f"{ASIDE}*"):
        new, leaving, gone = aside / "new", aside / LEAVING, aside / GONE
        if gone.exists() and not (folder / seal).exists():
            for name in parts:  # what is there now is new
                _move(folder / name, new / name)
            gone.rename(leaving)
        for path in sorted(leaving.glob("*")):
            _move(folder / path.name, new / path.name)
            _move(path, folder / path.name)
        shutil.rmtree(aside)


def _move(path: Path, to: Path) -> None:
    """What is there, whatever it is, also a link to nothing."""
    if os.path.lexists(path):
        path.rename(to)
