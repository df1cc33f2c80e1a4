"""Files that may change while a process runs: certificates, lists of who may call, keys."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from unclip.checkpoints.untrusted import read_bounded
from unclip.errors import ConfigurationError

log = logging.getLogger(__name__)
Parsed = TypeVar("Parsed")
Stamp = tuple[tuple[int, int, int], ...]


class Watched(Generic[Parsed]):
    """What some files say together; read again when one of them has changed. Any thread may use it.

    Kubernetes replaces mounted files by turning a symbolic link, so a file is known by inode, size and time of change.
    A change that cannot be read or parsed (half of a new pair of certificate and key, say), or must not succeed what
    is in force, is logged once, and what was there before stays in force.
    """

    def __init__(
        self,
        paths: Sequence[str],
        parse: Callable[[Sequence[bytes]], Parsed],
        check: Callable[[Parsed, Parsed], None] = lambda before, now: None,
    ) -> None:
        """``parse``: from the contents of ``paths``, in order, to their meaning; raises ConfigurationError. ``check``:
        raises it where the latter must not succeed the former as yet; asked again whenever somebody looks.

        Raises:
            ConfigurationError: a file cannot be read, or what ``parse`` raises.
        """
        self._paths, self._parse, self._check = [Path(path) for path in paths], parse, check
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self._value = self._latest = self._read()
        self._refused = False  # the latest, and logged

    @property
    def value(self) -> Parsed:
        """What the files say now, or said when they last made sense. The same object as long as they do not change."""
        with self._lock:
            try:
                self._follow()
            except ConfigurationError as error:
                if not self._refused:
                    log.error("what was read before stays in force: %s", error)
                self._refused = True
            return self._value

    def _follow(self) -> None:
        stamp = self._read_stamp()
        if stamp != self._stamp:
            self._stamp = stamp  # as it was before reading: what changes meanwhile is read next time
            self._latest, self._refused = self._value, False
            self._latest = self._read()
        if self._latest is not self._value:
            self._check(self._value, self._latest)
            self._value = self._latest
            log.info("read again: %s", ", ".join(map(str, self._paths)))

    def _read_stamp(self) -> Stamp | None:
        """What changes whenever the files do, None while one is away."""
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found)

    def _read(self) -> Parsed:
        try:
            contents = [_contents(path) for path in self._paths]
        except OSError as error:
            raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from error
        return self._parse(contents)


def _contents(path: Path) -> bytes:
    try:
        return read_bounded(path)
    except ValueError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
