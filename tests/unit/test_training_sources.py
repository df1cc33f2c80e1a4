"""Where the training pictures come from: exact versions, checked archives, licences that allow it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from training import sources
from training.presets import PRESETS
from training.sources import Source, integrity_of, manifest

PERMISSIVE = {"MIT", "Apache-2.0", "CC-BY-4.0"}  # attribution at most: no share-alike, no non-commercial


@pytest.mark.parametrize("source", manifest(), ids=lambda source: source.package)
def test_a_source_is_pinned_by_version_and_digest(source: Source) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", source.version)
    kind, _, encoded = source.integrity.partition("-")
    assert kind == "sha512"
    assert len(base64.b64decode(encoded, validate=True)) == 64


@pytest.mark.parametrize("source", manifest(), ids=lambda source: source.package)
def test_a_source_may_be_trained_on_and_says_who_made_it(source: Source) -> None:
    assert source.license in PERMISSIVE
    assert source.attribution


def test_each_style_of_each_preset_has_one_source_and_so_have_the_words() -> None:
    styles = [source.style for source in manifest()]

    assert len(set(styles)) == len(styles)
    assert {"", *(style for preset in PRESETS.values() for style in preset.styles)} <= set(styles)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A source whose archive is here already."""
    monkeypatch.setattr(sources, "CACHE", tmp_path)
    (tmp_path / "some-drawings-1.2.3.tgz").write_bytes(b"archive")
    integrity = integrity_of(tmp_path / "some-drawings-1.2.3.tgz")
    return Source("@some/drawings", "1.2.3", integrity, "MIT", "Somebody", "drawn")


def test_an_archive_that_is_here_is_not_fetched_again(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)

    assert sources.fetch(source).read_bytes() == b"archive"


def test_an_altered_archive_is_refused(source: Source) -> None:
    source.archive.write_bytes(b"something else")

    with pytest.raises(RuntimeError, match=r"integrity is sha512-.*, the manifest says sha512-"):
        sources.fetch(source)


def test_without_npm_the_message_says_what_to_install(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.archive.unlink()
    monkeypatch.setattr("shutil.which", lambda name: None)

    with pytest.raises(RuntimeError, match="install Node"):
        sources.fetch(source)


def test_integrity_is_written_as_npm_writes_it(tmp_path: Path) -> None:
    # printf abc | openssl dgst -sha512 -binary | base64
    known = "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=="
    (tmp_path / "abc").write_bytes(b"abc")

    assert integrity_of(tmp_path / "abc") == known
