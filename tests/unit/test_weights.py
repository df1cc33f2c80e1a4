"""Weights come whole, as they were meant to be, or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from unclip.checkpoints.download import MARK, fetch, main
from unclip.errors import CheckpointError, ConfigurationError


def archive(*members: tuple[str, bytes], links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return packed.getvalue()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def put(site: tuple[Path, str], content: bytes) -> tuple[str, str]:
    """Address and digest of ``content``."""
    (site[0] / "weights.tar").write_bytes(content)
    return f"{site[1]}/weights.tar", hashlib.sha256(content).hexdigest()


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_archive_is_fetched_once(site: tuple[Path, str], tmp_path: Path) -> None:
    url, digest = put(site, archive(("prior/config.json", b"{}"), ("unclip.json", b"{}")))
    to = tmp_path / "weights"
    to.mkdir()
    assert fetch(url, digest, to)
    assert listing(to) == [MARK, "prior/config.json", "unclip.json"]
    (site[0] / "weights.tar").unlink()
    assert not fetch(url, digest, to)


def test_an_archive_of_another_digest_is_not_unpacked(site: tuple[Path, str], tmp_path: Path) -> None:
    url, _ = put(site, archive(("unclip.json", b"{}")))
    to = tmp_path / "weights"
    to.mkdir()
    with pytest.raises(CheckpointError, match=f"expected {'0' * 64}"):
        fetch(url, "0" * 64, to)
    assert listing(to) == []


@pytest.mark.parametrize(
    "content",
    [archive(("../escaped", b"x")), archive(links={"out": "/etc"}), archive(links={"up": "../.."}), b"no archive"],
    ids=["path", "absolute link", "relative link", "not a tar"],
)
def test_nothing_leaves_the_folder(site: tuple[Path, str], tmp_path: Path, content: bytes) -> None:
    url, digest = put(site, content)
    to = tmp_path / "deep" / "weights"
    to.mkdir(parents=True)
    with pytest.raises(CheckpointError, match="cannot be unpacked"):
        fetch(url, digest, to)
    assert not (tmp_path / "deep" / "escaped").exists()
    assert not (to / MARK).exists()


def test_a_token_is_shown_to_the_address_and_not_to_where_that_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, seen = archive(("unclip.json", b"{}")), dict[str, str | None]()

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen[self.path] = self.headers["Authorization"]
            self.send_response(302 if self.path == "/first" else 200)
            self.send_header("Location", "/second")
            self.end_headers()
            self.wfile.write(b"" if self.path == "/first" else packed)

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("UNCLIP_WEIGHTS_TOKEN", "hf_secret")
        url = f"http://127.0.0.1:{server.server_port}/first"
        assert main([url, hashlib.sha256(packed).hexdigest(), str(tmp_path)]) == 0
        server.shutdown()
    assert seen == {"/first": "Bearer hf_secret", "/second": None}


def test_a_token_does_not_travel_in_plaintext(tmp_path: Path) -> None:
    for url in ("http://weights.example.com/a.tar", "http://127.0.0.1.example.com/a.tar"):
        with pytest.raises(ConfigurationError, match="over https only"):
            fetch(url, "0" * 64, tmp_path, "hf_secret")


@pytest.mark.parametrize(("url", "digest"), [("file:///etc/passwd", "0" * 64), ("http://127.0.0.1:1", "ABC")])
def test_malformed_orders_are_refused(url: str, digest: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        fetch(url, digest, tmp_path)


def test_a_missing_archive_is_one_line(
    site: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{site[1]}/nothing.tar", "0" * 64, str(tmp_path)]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if line.startswith("weights:")] == [
        f"weights: {site[1]}/nothing.tar cannot be fetched: HTTP Error 404: File not found"
    ]
