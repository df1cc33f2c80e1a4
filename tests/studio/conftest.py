from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.studio.browsing import Studio, studio
from tests.web.stacks import WebStack, stubbed


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    with stubbed(tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.fixture
def here(browser: Browser, stack: WebStack) -> Iterator[Studio]:
    """The page, on the stubbed stack, in a browser that has no pictures yet."""
    with studio(browser, stack.root) as opened:
        yield opened
