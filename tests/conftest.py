"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # a busy machine is no failure
settings.load_profile("tests")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint with everything in it; do not write into it."""
    from tests.tiny import make_tiny_checkpoint  # here, because only some tests need torch

    return make_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
