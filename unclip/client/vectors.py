"""Embeddings in a file, with the CLIP they belong to: one ``.npz`` with ``values``, ``names`` and ``clip_space``."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unclip.client.whole_files import replace
from unclip.errors import InvalidRequest
from unclip.wire.by_name import brief
from unclip.wire.embeddings import Embedding

ENDING = ".npz"
MEMBERS = ("values", "names", "clip_space")
MAX_BYTES, MAX_ROWS = 64 * 1024 * 1024, 100_000  # 16,384 embeddings of 1024 dimensions
MAX_FILE = 4 * MAX_BYTES  # of its three arrays
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
SUM = re.compile(r"[0-9]+([+-][0-9]+)*")
MAX_SUM = 1000  # characters


def save_embeddings(path: str | Path, embeddings: Sequence[Embedding], names: Sequence[str]) -> Path:
    """Writes ``embeddings`` of one CLIP, each with its name: ``values`` float32 ``[N, D]``, ``names`` ``[N]``.

    Raises:
        InvalidRequest: the path does not end with .npz, or they are of different CLIPs, or there are none.
    """
    place = require_npz(Path(path))
    spaces = {embedding.clip_space for embedding in embeddings}
    if len(spaces) != 1 or len(names) != len(embeddings):
        raise InvalidRequest.of("out", f"must be embeddings of one CLIP with a name each; got {len(spaces)} CLIPs")
    size = max(sum(each.values.nbytes for each in embeddings), 4 * len(names) * max(map(len, names)))
    if size > MAX_BYTES or len(names) > MAX_ROWS:
        raise InvalidRequest.of("out", f"must be at most {MAX_ROWS} rows and {MAX_BYTES} bytes; got {size} bytes")
    place.parent.mkdir(parents=True, exist_ok=True)
    values = np.stack([embedding.values for embedding in embeddings])
    file = io.BytesIO()
    np.savez(file, values=values, names=np.array(names), clip_space=np.array(spaces.pop()))
    replace(place, file.getvalue())
    return place


def require_npz(path: Path) -> Path:
    """``path``, of a file that ``save_embeddings`` can write. Raises InvalidRequest."""
    if path.suffix != ENDING:
        raise InvalidRequest.of("out", f"must end with {ENDING}, which holds the CLIP's name too; got {path}")
    return path


def load_embeddings(path: str | Path) -> dict[str, list[Embedding]]:
    """The embeddings that ``save_embeddings`` wrote, by name; a name that was given twice has two. In order.

    Raises:
        InvalidRequest: the file cannot be read, or is another.
    """
    found: dict[str, list[Embedding]] = {}
    for name, embedding in read_rows(Path(path)):
        found.setdefault(name, []).append(embedding)
    return found


def read_rows(path: Path, data: bytes | None = None) -> list[tuple[str, Embedding]]:
    """The name and embedding of each row of the file at ``path``, or of ``data``, which came from there.

    Raises:
        InvalidRequest: as ``load_embeddings``.
    """
    try:
        if data is None and not path.is_file():  # a pipe or a device, in which nobody can look for an end
            with path.open("rb") as stream:
                data = stream.read(MAX_FILE + 1)
        check_size(path, data)
        with np.load(path if data is None else io.BytesIO(data), allow_pickle=False) as file:
            values, names, spaces = file["values"], file["names"], file["clip_space"]
        if spaces.ndim:
            raise ValueError("several CLIPs")
        space = str(spaces)
        words = [str(name) for name in names]
    except InvalidRequest:
        raise
    except OSError as error:
        raise InvalidRequest.of("embedding", f"cannot read {path}: {error.strerror or error}") from error
    except Exception:  # zipfile, its decompressors, and numpy, which parses headers as Python, raise many
        raise InvalidRequest.of("embedding", f"{path} must be a {ENDING} file that unclip embed --out wrote") from None
    if values.dtype != np.float32 or values.ndim != 2 or names.shape != values.shape[:1]:
        raise InvalidRequest.of("embedding", f"{path} must hold float32 rows with a name each; got {values.shape}")
    return [(word, Embedding(row, space)) for word, row in zip(words, values, strict=True)]


def check_size(path: Path, data: bytes | None) -> None:
    """Refuses a file that would unfold into more than `save_embeddings` writes, before it does, by its headers.

    Raises:
        InvalidRequest: it would.
        Exception: it is no .npz file.
    """
    with zipfile.ZipFile(path if data is None else io.BytesIO(data)) as packed:
        if sorted(packed.namelist()) != sorted(f"{name}.npy" for name in MEMBERS):
            raise ValueError("other members")
        for member in packed.infolist():
            if member.file_size <= MAX_BYTES:
                with packed.open(member) as array:
                    shape, _, kind = READERS[np.lib.format.read_magic(array)](array)
                if math.prod(shape) * kind.itemsize <= MAX_BYTES and (not shape or shape[0] <= MAX_ROWS):
                    continue
            raise InvalidRequest.of(
                "embedding", f"{path} must have at most {MAX_ROWS} rows and {MAX_BYTES} bytes of each of its arrays"
            )


def combine(rows: Sequence[Embedding], text: str) -> Embedding:
    """The sum that ``text`` asks for, such as "2" or "2-0+1": rows added and subtracted, as long as the first.

    Raises:
        InvalidRequest: it is no such sum, or names a row that is not there.
    """
    if not SUM.fullmatch(text):
        raise InvalidRequest.of("index", f'must be a row, or a sum of rows such as "2-0+1"; got {text!r:.60}')
    if len(text) > MAX_SUM:
        raise InvalidRequest.of("index", f"must have at most {MAX_SUM} characters; got {len(text)}")
    if not rows:
        raise InvalidRequest.of("embedding", "must hold a row; there are none")
    terms = [(term[0], int(term.lstrip("+-"))) for term in re.findall(r"[+-]?[0-9]+", text)]
    if missing := [row for _, row in terms if row >= len(rows)]:
        raise InvalidRequest.of("index", f"must name rows 0 to {len(rows) - 1}; got {brief(missing[0])}")
    first = rows[terms[0][1]]
    total = first
    for sign, row in terms[1:]:
        total = total - rows[row] if sign == "-" else total + rows[row]
    return total.with_length(first.length) if len(terms) > 1 else first
