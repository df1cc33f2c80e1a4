"""The Helm chart, rendered by Helm itself, and what is in what it renders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

from deploy.settings_schema import ALL
from unclip.serving.settings import ProcessSettings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "unclip"
NAMESPACE = "pictures"

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C is ten times as fast
Object = dict[str, Any]
Values = Mapping[str, Any]


def render(values: Values, release: str = "unclip") -> list[Object]:
    """The objects that a release of these values has, `helm test`'s included. Raises helm_python.HelmError."""
    return json.loads(_render(json.dumps(values), release))  # type: ignore[no-any-return]


def notes(values: Values) -> str:
    """What `helm install` prints."""
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(dict(values), name="unclip", namespace=NAMESPACE)["unclip/templates/NOTES.txt"]


@cache
def _render(values: str, release: str) -> str:
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(json.loads(values), name=release, namespace=NAMESPACE)
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    objects = [found for text in texts for found in yaml.load_all(text, LOADER)]
    return json.dumps([found for found in objects if found])


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Those of the given kinds."""
    return [found for found in objects if found["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """The one of that kind and name."""
    [found] = [found for found in of_kind(objects, kind) if found["metadata"]["name"] == name]
    return found


def pods(objects: Sequence[Object]) -> list[Object]:
    """Pod templates of all Deployments, and bare pods: ``{"metadata": ..., "spec": ...}`` each."""
    templates = [found["spec"]["template"] for found in of_kind(objects, "Deployment")]
    return [*templates, *of_kind(objects, "Pod")]


def component(found: Object) -> str:
    """Which service an object belongs to."""
    return str(found["metadata"]["labels"]["app.kubernetes.io/component"])


def dialled(target: str) -> tuple[str, int] | None:
    """Name and port of a target such as the chart writes; None where the name is not whole, with a dot behind it."""
    found = re.fullmatch(r"dns:///([a-z0-9-]+(?:\.[a-z0-9-]+)+)\.:(\d+)", target)
    return (found[1], int(found[2])) if found else None


def container(pod: Object) -> Object:
    """The service's container of a pod."""
    return dict(pod["spec"]["containers"][0])


def environment(pod: Object) -> dict[str, str]:
    """Variables of the service's container; what the cluster fills in is "1"."""
    return {entry["name"]: entry.get("value", "1") for entry in container(pod).get("env", [])}


def settings_class(pod: Object) -> type[ProcessSettings]:
    """The settings of the service that a pod runs."""
    module = container(pod)["command"][-1]
    [cls] = {cls for cls in ALL.values() if cls.__module__ == f"{module}.settings"}
    return cls


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "NotIn":
            raise NotImplementedError(expression["operator"])
        if labels.get(expression["key"]) in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def labels_of(found: Object) -> dict[str, str]:
    """Labels of an object or pod template."""
    return dict(found["metadata"]["labels"])


def services_pods(objects: Sequence[Object]) -> list[Object]:
    """The pods of Deployments, `helm test`'s left out."""
    return [found["spec"]["template"] for found in of_kind(objects, "Deployment")]


def ports_of(pod: Object) -> dict[str, int]:
    """Open ports of a service's container by name."""
    return {port["name"]: port["containerPort"] for port in container(pod).get("ports", [])}
