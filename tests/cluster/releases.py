"""Releases of the chart on a real API server, by Helm, and how many replicas they have."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import httpx
import yaml

from tests.cluster.control_plane import PATIENCE_S, Api, Object
from tests.deploy.chart import CHART, Values
from tests.deploy.variants import merged

RELEASE = "unclip"
SCALER = "kube-controller-manager"  # as whom the HorizontalPodAutoscaler controller sets replicas


def chart_for(api: Api, folder: Path) -> Path:
    """The chart; without what it says of Kubernetes' version where the server was built without telling it its own."""
    if not api.get("/version")["gitVersion"].startswith("v0.0.0"):
        return CHART
    copy = Path(shutil.copytree(CHART, folder / "unclip"))
    told = yaml.safe_load((copy / "Chart.yaml").read_text())
    del told["kubeVersion"]
    (copy / "Chart.yaml").write_text(yaml.safe_dump(told))
    return copy


@dataclass
class Release:
    """A release in a namespace of its own, where only restricted pods may be."""

    api: Api
    chart: Path
    namespace: str

    def __post_init__(self) -> None:
        self._helm = helm_python.Config(
            kubeconfig_content=self.api.kubeconfig(), namespace=self.namespace, burst_limit=1000, qps=1000
        )
        self.revision = 0
        self._told: list[str] = []
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.api.create("/api/v1/namespaces", {"metadata": {"name": self.namespace, "labels": labels}})

    def install(self, *values: Values) -> None:
        """Installs it."""
        with helm_python.Chart.load(self.chart) as chart:
            self._helm.install(chart, RELEASE, merged(*values), namespace=self.namespace)
        self.revision = 1
        self._tell("install", values)

    def upgrade(self, *values: Values) -> int:
        """Upgrades it; the number of the revision."""
        with helm_python.Chart.load(self.chart) as chart:
            self._helm.upgrade(chart, RELEASE, merged(*values), namespace=self.namespace, reset_values=True)
        self.revision += 1
        self._tell("upgrade", values)
        return self.revision

    def rollback(self, revision: int) -> None:
        """Goes back to a revision."""
        self._helm.rollback(RELEASE, version=revision)
        self.revision += 1
        self._tell(f"rollback to {revision}")

    def uninstall(self) -> None:
        """Takes it away."""
        self._helm.uninstall(RELEASE)

    def test(self) -> None:
        """`helm test`. Raises helm_python.HelmError."""
        self._helm.test(RELEASE, timeout=300)

    def close(self) -> None:
        """Lets go of Helm."""
        self._helm.close()

    def deployments(self) -> list[Object]:
        """Its Deployments."""
        return self.api.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")

    def replicas(self) -> dict[str, int]:
        """How many replicas each service is to have."""
        return {name_of(found): int(found["spec"]["replicas"]) for found in self.deployments()}

    def ready(self) -> dict[str, int]:
        """How many pods of each service are ready."""
        return {name_of(found): int(found["status"].get("readyReplicas", 0)) for found in self.deployments()}

    def settle(self, patience: float = PATIENCE_S) -> dict[str, int]:
        """Waits until every service has all its replicas, of the newest kind, and none else; how many those are."""
        end = time.monotonic() + patience
        while not all(settled(found) for found in self.deployments()):
            if time.monotonic() > end:
                raise AssertionError([found["status"] for found in self.deployments() if not settled(found)])
            time.sleep(0.1)
        return self.ready()

    def scale(self, name: str, replicas: int) -> None:
        """Sets replicas as a scaler does, by the subresource."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.prefix}-{name}/scale"
        self.api.merge(path, {"spec": {"replicas": replicas}}, SCALER)
        self._tell(f"scaler: {name}")

    def keda(self) -> None:
        """What KEDA's operator does: a HorizontalPodAutoscaler for each ScaledObject, none for those that are gone."""
        scalers = f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers"
        wanted = {
            f"keda-hpa-{found['metadata']['name']}": found["spec"]
            for found in self.api.items(f"/apis/keda.sh/v1alpha1/namespaces/{self.namespace}/scaledobjects")
        }
        there = {found["metadata"]["name"] for found in self.api.items(scalers)}
        for name in there - set(wanted):
            if name.startswith("keda-hpa-"):
                self.api.delete(f"{scalers}/{name}")
        for name, spec in wanted.items():
            if name not in there:
                metric = {"type": "External", "external": {"metric": {"name": "s0"}}}
                metric["external"]["target"] = {"type": "AverageValue", "averageValue": "1"}  # type: ignore[index]
                limits = {"minReplicas": spec["minReplicaCount"], "maxReplicas": spec["maxReplicaCount"]}
                target = {"scaleTargetRef": spec["scaleTargetRef"], **limits, "metrics": [metric]}
                self.api.create(scalers, {"metadata": {"name": name}, "spec": target})

    def told(self) -> str:
        """What was done, a line each, with the replicas of each service after it."""
        return "\n".join(self._told)

    def _tell(self, what: str, values: Sequence[Values] = ()) -> None:
        counts = " ".join(f"{name}={count}" for name, count in sorted(self.replicas().items()))
        kind = dict(merged(*values).get("defaults", {})).get("autoscaling", {}).get("kind", "") if values else ""
        self._told.append(f"{self.revision} {what}{f' ({kind})' if kind else ''}: {counts}")

    @property
    def prefix(self) -> str:
        """What the names of its Deployments begin with."""
        return str(self.deployments()[0]["metadata"]["name"]).rpartition("-")[0]


def name_of(found: Mapping[str, Any]) -> str:
    """The service of an object."""
    return str(found["metadata"]["labels"]["app.kubernetes.io/component"])


def settled(found: Object) -> bool:
    """Whether a Deployment has rolled out."""
    status, wanted = found["status"], found["spec"]["replicas"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
    return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3


def gone(api: Api, namespace: str) -> bool:
    """Whether a namespace has no Deployment and no Service."""
    kinds = ("/apis/apps/v1/namespaces/{}/deployments", "/api/v1/namespaces/{}/services")
    try:
        return not any(api.items(kind.format(namespace)) for kind in kinds)
    except httpx.HTTPStatusError:
        return True
