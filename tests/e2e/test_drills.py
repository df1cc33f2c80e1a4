"""The drills of ``make drill``, in seconds instead of minutes: users of a cluster do not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drill.__main__ import NAMES, drill
from tests.drill.report import Setting


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_is_drilled(name: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    finding = drill(name, Setting(short=True, folder=tmp_path, checkpoint=tiny_checkpoint))
    assert finding.ok, finding.figure
