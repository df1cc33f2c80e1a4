"""Fixtures for pytest: say ``pytest_plugins = ["unclip.testing.fixtures"]`` in your conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unclip.testing import BlockingStubStack, StubModel


@pytest.fixture
def unclip_model() -> StubModel:
    """Sizes and defaults of the stubbed model; override it to have others."""
    return StubModel()


@pytest.fixture
def unclip_stack(unclip_model: StubModel) -> Iterator[BlockingStubStack]:
    """A stubbed stack of your test's own, gateway included: call ``unclip_stack.address``, blocking or not."""
    with BlockingStubStack(unclip_model) as stack:
        yield stack
