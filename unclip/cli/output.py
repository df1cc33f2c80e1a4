"""Where a command writes: names that say what is in a file, and nothing overwritten that is not the same."""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

from unclip.client.recipes import PICTURE_ENDINGS
from unclip.client.whole_files import create, replace
from unclip.errors import InvalidRequest

MAX_PART = 40  # bytes of a source's name, and of a caption's words, in a file's name: some systems take 143 in all


class Folder:
    """The folder of ``--out``. force: files of the same name are overwritten."""

    def __init__(self, path: Path, force: bool = False) -> None:
        self.path, self._force = path, force

    def require(self) -> None:
        """Makes the folder where it is missing, and tries whether files can be made in it.

        Raises:
            InvalidRequest: it cannot, naming ``out``, or is called as a picture.
        """
        if self.path.suffix.lower() in PICTURE_ENDINGS and not self.path.is_dir():
            raise InvalidRequest.of("out", f"must be a folder, in which each picture gets a name; got {self.path}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidRequest.of("out", f"cannot write into {self.path}: {reason}") from error
        except RecursionError:  # of pathlib, which makes one folder inside the other
            raise InvalidRequest.of("out", "names too many folders inside each other") from None

    def require_place(self, name: str) -> None:
        """As ``require``, and that there can be a file of this name. Raises InvalidRequest, naming ``out``."""
        self.require()
        path = self.path / name
        try:
            reason = "Is a directory" if path.is_dir() else ""
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            raise InvalidRequest.of("out", f"cannot write {path}: {reason}")

    def write(self, name: str, ending: str, data: bytes) -> Path:
        """Writes a whole file or none, and says where it is.

        A file of that name stays: one that holds the same is taken for this one, beside another the name gets a number.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path / f"{name}.{ending}"
        if self._force:
            replace(path, data)
            return path
        for number in itertools.count(2):
            try:
                create(path, data)
                return path
            except FileExistsError:
                if holds(path, data):
                    return path
            path = self.path / f"{name}-{number}.{ending}"
        raise AssertionError


def holds(path: Path, data: bytes) -> bool:
    """Whether the file is there and holds ``data``."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def file_name(capability: str, *parts: str | int) -> str:
    """A file's name without ending: the capability, then words of captions and sources, each shortened; numbers as they
    are. What is empty is left out."""
    words = [str(part) if isinstance(part, int) else slug(part) for part in parts]
    return "-".join(word for word in [capability, *words] if word)


def slug(text: str) -> str:
    """``text`` as part of a file's name: its letters and digits, small, of its words as many as fit into 40 bytes."""
    name = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text).lower()).strip("-")
    encoding = sys.getfilesystemencoding()
    data = name.encode(encoding, "ignore")
    if len(data) <= MAX_PART:
        return data.decode(encoding).strip("-")
    cut = data[:MAX_PART].decode(encoding, "ignore")
    whole = cut if name[len(cut) : len(cut) + 1] == "-" else cut.rpartition("-")[0]
    return (whole or cut).strip("-")
