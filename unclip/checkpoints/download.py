"""``python -m unclip.checkpoints.download URL SHA256 FOLDER``: fetches a checkpoint's archive, for init containers.

Nothing is unpacked unless the archive's digest is the one asked for, and nothing leaves the folder. Run again after it
has succeeded it does nothing; after it has failed it begins anew. A token in UNCLIP_WEIGHTS_TOKEN is shown to the
address's own host, as ``Authorization: Bearer``, and not to where that redirects.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from unclip.errors import CheckpointError, ConfigurationError

CHUNK = 1 << 20
TIMEOUT_S = 60.0  # without a byte
MARK = ".unclip-weights"
TOKEN = "UNCLIP_WEIGHTS_TOKEN"
# Where a token may be shown: over TLS, or without leaving this machine.
TRUSTED = re.compile(r"https://|http://(?:127(?:\.\d+){3}|localhost|\[::1\])[:/]")


def fetch(url: str, sha256: str, folder: Path, token: str = "") -> bool:
    """Unpacks the tar archive at ``url`` into ``folder``; whether there was anything to do.

    url: of http or https. sha256: of the archive, 64 hex digits. token: shown to the host in ``url``; empty for none.

    Raises:
        ConfigurationError: the address or digest is malformed, nothing can be written there, or a token would travel
            in plaintext.
        CheckpointError: the archive does not arrive, is another one, or is no archive that may be unpacked.
    """
    if not re.match(r"https?://", url):
        raise ConfigurationError(f"weights: the address must be of http or https; got {url!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ConfigurationError(f"weights: sha256 must be 64 hex digits in lower case; got {sha256!r}")
    if token and not TRUSTED.match(url):
        raise ConfigurationError(f"weights: a token is shown over https only; got {url!r}")
    mark, part = folder / MARK, folder / f"{MARK}.part"
    if mark.exists() and mark.read_text() == sha256:
        return False
    try:
        found = _download(url, part, token)
        if found != sha256:
            raise CheckpointError(f"weights: {url} has sha256 {found}, expected {sha256}")
        _unpack(part, folder)
        mark.write_text(sha256)
        return True
    except OSError as error:
        raise ConfigurationError(f"weights: cannot write into {folder}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _download(url: str, file: Path, token: str) -> str:
    """Writes what lies at ``url``; its sha256 in hex."""
    seen, request = hashlib.sha256(), urllib.request.Request(url)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with file.open("wb") as out:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                while chunk := answer.read(CHUNK):
                    seen.update(chunk)
                    out.write(chunk)
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            raise CheckpointError(f"weights: {url} cannot be fetched: {error}") from error
    return seen.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")  # refuses paths and links that lead out of the folder, and devices
    except tarfile.TarError as error:
        raise CheckpointError(f"weights: the archive cannot be unpacked: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches what the command line names; 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m unclip.checkpoints.download", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("url", help="of the archive: tar, plain or compressed")
    parser.add_argument("sha256", help="of the archive, in hex")
    parser.add_argument("folder", type=Path, help="to unpack it into")
    options = parser.parse_args(arguments)
    try:
        new = fetch(options.url, options.sha256, options.folder, os.environ.get(TOKEN, ""))
    except (CheckpointError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.folder}: {'unpacked' if new else 'there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
