"""A release that `kubectl apply` brings, as it was rendered without a cluster to ask, and its replicas."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster import control_plane
from tests.cluster.control_plane import Api
from tests.cluster.test_replicas import BEFORE, KEDA, TEN
from tests.deploy.chart import ROOT, Values, render
from tests.deploy.variants import merged

SCALED: Values = merged(TEN, KEDA)
INITIALLY: Values = merged(SCALED, {"decoder": {"autoscaling": {"initialReplicas": 10}}})


class Applied:
    """What kubectl applies to the namespace that the chart is rendered for."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api, self._folder = api, folder
        (folder / "kubeconfig").write_text(api.kubeconfig())
        api.create("/api/v1/namespaces", {"metadata": {"name": "pictures"}})

    def __call__(self, values: Values) -> dict[str, int]:
        """Applies the Deployments; the replicas after it."""
        found = [each for each in render(values) if each["kind"] == "Deployment"]
        (self._folder / "list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))
        self.kubectl("kubectl --namespace pictures apply --filename list.json")
        return self.replicas()

    def kubectl(self, script: str) -> None:
        """Runs a script whose kubectl is that of the folder of binaries."""
        path = f"{control_plane.binaries()}{os.pathsep}{os.environ['PATH']}"
        told = {**os.environ, "KUBECONFIG": "kubeconfig", "PATH": path}
        subprocess.run(["bash", "-euc", script], cwd=self._folder, env=told, check=True, capture_output=True)

    def replicas(self) -> dict[str, int]:
        """How many replicas each service is to have."""
        found = self._api.items("/apis/apps/v1/namespaces/pictures/deployments")
        return {each["metadata"]["name"].removeprefix("unclip-"): each["spec"]["replicas"] for each in found}


@pytest.fixture
def applied(tmp_path: Path, api: Api) -> Applied:
    if reason := control_plane.missing(["kubectl"]):
        pytest.skip(reason)
    return Applied(api, tmp_path)


def test_what_is_applied_keeps_its_replicas_in_the_documented_way_and_in_no_other(applied: Applied) -> None:
    assert applied(TEN) == BEFORE
    assert applied(INITIALLY)["decoder"] == 10
    applied.kubectl("kubectl --namespace pictures scale deployment/unclip-decoder --replicas 14")
    assert applied(SCALED)["decoder"] == 1  # why docs/deploy.md does not call initialReplicas a way to switch over

    assert applied(TEN) == BEFORE
    [documented] = re.findall(
        r"    ```sh\n(    for name in .*?)    ```\n", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL
    )
    applied.kubectl(documented)
    assert applied(SCALED) == BEFORE
    applied.kubectl("kubectl --namespace pictures scale deployment/unclip-decoder --replicas 14")
    assert applied(SCALED) == {**BEFORE, "decoder": 14}
