"""Stubbed stages, and a gateway in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway_front import MODEL, Front
from unclip.testing import StubStages


@pytest.fixture
async def stages() -> AsyncIterator[StubStages]:
    async with StubStages(MODEL) as stages:
        yield stages


@pytest.fixture
async def front(stages: StubStages) -> AsyncIterator[Front]:
    async with Front(stages.addresses) as front:
        yield front
