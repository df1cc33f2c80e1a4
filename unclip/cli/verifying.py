"""``unclip verify``: which marks picture files carry of having been made by AI, and whether they hold."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unclip.checkpoints.untrusted import read_bounded
from unclip.cli import report, sources
from unclip.cli.exits import FAILED, WRONG
from unclip.cli.terminal import line
from unclip.client.provenance import Mark, Provenance, read_provenance
from unclip.errors import ConfigurationError, InvalidRequest
from unclip.wire.marks import TERMS


def verify(options: argparse.Namespace) -> int:
    """Says it of each file. The exit status: 1 where one has not passed, 2 where one is no picture.

    Raises:
        ConfigurationError: the CAs to trust cannot be read, or what checks signatures is not installed.
    """
    trust, status, answers = read_trust(options.trust), 0, list[dict[str, Any]]()
    for path in options.pictures:
        try:
            found = read_provenance(sources.read(path, "picture").data, trust)
        except InvalidRequest as error:
            status, message = WRONG, error.violations[0].description
            answers.append({"path": str(path), "error": message})
            if not options.json:
                line(f"{path}: {message}")
            continue
        passed = found.generated and not found.broken and (not trust or found.c2pa.state == "trusted")
        status = status if passed else max(status, FAILED)
        answers.append({"path": str(path), "passed": passed, "generated": found.generated, **report.plain(found)})
        if not options.json:
            tell(path, found, passed)
    if options.json:
        report.print_json({"files": answers})
    return status


def read_trust(path: Path | None) -> bytes:
    """The CAs to trust, empty for none. Raises ConfigurationError."""
    if path is None:
        return b""
    try:
        found = read_bounded(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"--trust: {path} cannot be read: {reason}") from error
    if not found.strip():
        raise ConfigurationError(f"--trust: {path} is empty")
    return found


def tell(path: Path, found: Provenance, passed: bool) -> None:
    """Three lines of one file, and one more for each picture that it began with."""
    said = "marked as made by AI" if found.generated else "not marked as made by AI"
    line(f"{path}: {said}" if passed or not found.generated else f"{path}: {said}, but see below")
    line(f"  XMP   {words(found.xmp)}")
    line(f"  C2PA  {words(found.c2pa, found.c2pa.signer)}")
    for source in found.c2pa.sources:
        line(f"        began with {source}")


def words(mark: Mark, signer: str = "") -> str:
    """A mark on one line."""
    parts = [mark.source_type.removeprefix(TERMS), f"signed by {signer}" if signer else "", mark.detail]
    return f"{mark.state:<7}  {'; '.join(part for part in parts if part)}"
