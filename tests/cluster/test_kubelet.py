"""The laptop's values on a node with a kubelet, where there can be one: `python -m tests.cluster`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import kubelet, laptop


@pytest.mark.timeout(1800)
def test_the_laptops_values_run_on_a_node(tmp_path: Path) -> None:
    if reason := kubelet.impossible(laptop.ARCHIVES):
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.cluster", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout)  # pytest -rP shows it
    assert done.returncode == 0, done.stdout + done.stderr
