"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("tests", deadline=None)  # a busy machine is no failure
settings.load_profile("tests")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint with everything in it; do not write into it."""
    from tests.tiny import make_tiny_checkpoint  # here, because only some tests need torch

    return make_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def taught_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a student of its decoder, which paints where nobody asks for another quality."""
    from tests.tiny import make_tiny_checkpoint

    return make_tiny_checkpoint(tmp_path_factory.mktemp("taught") / "tiny", quality="fast")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; skipped where it is not there. A module's: while it is open an event loop runs in this thread, and no
    other module's tests can run theirs."""
    from tests.studio.browsing import CHROMIUM, chromium  # here, because only some tests need Playwright

    if not CHROMIUM:
        pytest.skip("needs Chromium: apt-get install chromium")
    with chromium() as opened:
        yield opened
