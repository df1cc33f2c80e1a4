"""The drills of ``make drill``, in seconds instead of minutes: users of a cluster do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.drill.__main__ import NAMES, drill
from tests.drill.report import Finding, Setting

# Drills that wait for most of their time: several are run at once. Others measure what the machine can do, or use all
# of it, and come after them.
CALM = ("rolling", "freeze", "sick", "uneven", "grow", "rotation", "tls", "versions", "web")
AT_ONCE = 3


@pytest.fixture(scope="module")
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path
) -> Iterator[dict[str, Future[Finding]]]:
    """The calm ones among the drills that were asked for."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = [item.callspec.params["name"] for item in items if item.module is request.module]

    def run(name: str) -> Finding:
        return drill(name, Setting(short=True, folder=tmp_path_factory.mktemp(name), checkpoint=tiny_checkpoint))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run, name) for name in names if name in CALM}
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*CALM, *(name for name in NAMES if name not in CALM)])
def test_a_cluster_is_drilled(
    name: str, begun: dict[str, Future[Finding]], tmp_path: Path, tiny_checkpoint: Path
) -> None:
    if name in begun:
        finding = begun[name].result()
    else:
        finding = drill(name, Setting(short=True, folder=tmp_path, checkpoint=tiny_checkpoint))
    assert finding.ok, finding.figure
