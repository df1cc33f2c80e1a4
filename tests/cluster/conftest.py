"""One control plane for all of these tests; without its binaries they are skipped, and say why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.cluster import control_plane, crds
from tests.cluster.control_plane import Api
from tests.cluster.node import Node
from tests.cluster.releases import Release, chart_for

NUMBERS = count(1)


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API server of a cluster with one node."""
    if reason := control_plane.missing():
        pytest.skip(reason)
    with control_plane.control_plane(tmp_path_factory.mktemp("control-plane"), "*,-nodelifecycle") as api:
        node = Node(api)
        node.register()
        node.start()
        try:
            crds.define(api)
            yield api
        finally:
            node.stop()
        assert node.failure is None


@pytest.fixture(scope="session")
def chart(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_for(api, tmp_path_factory.mktemp("chart"))


@pytest.fixture
def release(api: Api, chart: Path) -> Iterator[Release]:
    """A release that is yet to be installed."""
    made = Release(api, chart, f"pictures-{next(NUMBERS)}")
    yield made
    print(made.told())  # pytest -rP shows it
    made.close()
