from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.stacks import WebStack, stubbed


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    with stubbed(tmp_path_factory.mktemp("studio")) as running:
        yield running
