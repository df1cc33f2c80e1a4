"""Replicas that a Deployment is written with where Helm can ask what runs: the same on a real one is in tests/cluster.

Rendering asks no cluster. So ``lookup`` is taken out of a copy of the chart's helper, and what it would find is put
into the values.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from tests.deploy.chart import CHART, NAMESPACE, Values
from tests.deploy.variants import merged

KEDA: Values = {"decoder": {"autoscaling": {"kind": "keda"}}}
TARGET = "unclip-decoder"
BY_HELM_4 = {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:selector": {}}}}
BY_HELM_3 = {**BY_HELM_4, "operation": "Update"}
WITHOUT = {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}}
BY_SCALER = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "subresource": "scale",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
}
STATUS = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status"}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_python.Chart]:
    copy = Path(shutil.copytree(CHART, tmp_path_factory.mktemp("chart") / "unclip"))
    helper = copy / "templates" / "_replicas.tpl"
    told = r'(dig "\1" \2 dict ($.root.Values.global | default dict))'
    text, count = re.subn(r'lookup "[^"]+" "(\w+)" \S+ (\S+)', told, helper.read_text())
    assert count == 2
    helper.write_text(text)
    with helm_python.Chart.load(copy) as loaded:
        yield loaded


def live(replicas: int, *owners: Values, scaler: str = "") -> Values:
    """A Deployment that is there, with whoever has set its fields, and a HorizontalPodAutoscaler of that name."""
    found: dict[str, Any] = {"spec": {"replicas": replicas}, "metadata": {"managedFields": [STATUS, *owners]}}
    scalers = {"HorizontalPodAutoscaler": {scaler: {"kind": "HorizontalPodAutoscaler"}}} if scaler else {}
    return {"global": {"Deployment": {TARGET: found}, **scalers}}


def written(chart: helm_python.Chart, *values: Values) -> int | None:
    """The decoder's replicas; None where none are written."""
    files = chart.render(dict(merged(*values)), name="unclip", namespace=NAMESPACE)
    found = [each for each in yaml.safe_load_all(files["unclip/templates/deployments.yaml"]) if each]
    [decoder] = [each for each in found if each["metadata"]["name"] == TARGET]
    replicas: int | None = decoder["spec"].get("replicas")
    return replicas


def test_what_begins_to_be_scaled_keeps_what_runs(chart: helm_python.Chart) -> None:
    assert written(chart, KEDA, live(10, BY_HELM_4)) == 10
    assert written(chart, KEDA, live(10, BY_HELM_3)) == 10
    assert written(chart, KEDA, live(1, BY_HELM_4), {"decoder": {"autoscaling": {"minReplicas": 3}}}) == 3


def test_what_the_scaler_has_set_is_left_to_it_by_server_side_apply(chart: helm_python.Chart) -> None:
    assert written(chart, KEDA, live(14, WITHOUT, BY_SCALER)) is None


def test_helm_3_sets_back_what_is_no_longer_written_and_so_it_is_written(chart: helm_python.Chart) -> None:
    assert written(chart, KEDA, live(14, BY_HELM_3, BY_SCALER)) == 14


def test_what_is_no_longer_scaled_keeps_what_runs_at_first(chart: helm_python.Chart) -> None:
    for scaler in (TARGET, f"keda-hpa-{TARGET}"):
        assert written(chart, {"decoder": {"replicas": 2}}, live(14, WITHOUT, BY_SCALER, scaler=scaler)) == 14
    assert written(chart, {"decoder": {"replicas": 2}}, live(14, WITHOUT, BY_SCALER)) == 2


def test_without_anything_there_the_values_count(chart: helm_python.Chart) -> None:
    assert written(chart, {"decoder": {"replicas": 2}}) == 2
    assert written(chart, KEDA) is None
    assert written(chart, KEDA, {"decoder": {"autoscaling": {"initialReplicas": 10}}}) == 10
