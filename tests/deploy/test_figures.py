"""Dashboards, alerts and scalers ask only for figures that the services publish, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from tests.deploy.chart import CHART, NAMESPACE, ROOT, SWITCHES, Object, named, of_kind, render
from unclip.serving import metrics

SCRAPED = {"namespace", "pod", "job", "instance", "le"}  # labels that Prometheus adds
ALERTS = yaml.safe_load((CHART / "alerts" / "unclip.yaml").read_text())
DASHBOARD = json.loads((CHART / "dashboards" / "unclip.json").read_text())


def published() -> dict[str, set[str]]:
    """Names of time series with their labels, as they would be scraped; `up` is Prometheus' own."""
    series: dict[str, set[str]] = {"up": set()}
    for found in vars(metrics).values():
        if not hasattr(found, "_labelnames") or isinstance(found, type):
            continue
        name, labels = found._name, set(found._labelnames)
        for suffix in {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}[found._type]:
            series[f"{name}{suffix}"] = labels
    process = ("process_resident_memory_bytes", "process_cpu_seconds")
    for family in REGISTRY.collect():
        if family.name in process:
            series.update({sample.name: set() for sample in family.samples})
    return series


def selectors(node: Any) -> Iterator[Any]:
    """The vector selectors of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for child in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, child, None)
        if inner is not None:
            yield from selectors(inner)
    for argument in getattr(node, "args", None) or []:
        yield from selectors(argument)


def wrong(query: str) -> list[str]:
    """What is wrong with a query: series and labels that nobody publishes."""
    query = query.replace("$__rate_interval", "5m").replace("$namespace", "x").replace("$NAMESPACE", "x")
    found = list(selectors(promql_parser.parse(query)))
    assert found, query
    series = published()
    lines = [f"no series {each.name}" for each in found if each.name not in series]
    for each in found:
        labels = {matcher.name for matcher in each.matchers.matchers}
        unknown = labels - SCRAPED - series.get(each.name, set())
        lines.extend(f"{each.name} has no label {label}" for label in unknown)
    return lines


def test_a_wrong_query_is_noticed() -> None:
    assert wrong('sum(rate(unclip_jobs[5m])) / max(unclip_saturation{program="x"})') == [
        "no series unclip_jobs",
        "unclip_saturation has no label program",
    ]
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        wrong("sum(rate(unclip_saturation[5m])")


@pytest.mark.parametrize("panel", [p for p in DASHBOARD["panels"] if p["type"] != "row"], ids=lambda p: str(p["title"]))
def test_a_panel_shows_figures_that_there_are(panel: Object) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert wrong(target["expr"]) == []
        assert 'namespace="$namespace"' in target["expr"]


def test_panels_have_places_and_numbers_of_their_own() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])


@pytest.mark.parametrize(
    "rule", [rule for group in ALERTS["groups"] for rule in group["rules"]], ids=lambda r: r["alert"]
)
def test_an_alert_watches_figures_that_there_are(rule: Object) -> None:
    assert wrong(rule["expr"]) == []
    assert "$NAMESPACE" in rule["expr"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]


def test_the_manual_tells_what_to_do_about_each_alert() -> None:
    manual = (ROOT / "docs" / "deploy.md").read_text()
    told = re.findall(r"^\| (Unclip\w+) \|", manual, re.MULTILINE)
    assert told == [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]


def test_alerts_of_a_release_watch_its_namespace() -> None:
    rules = named(render(SWITCHES["service monitor"]), "PrometheusRule", "unclip")
    assert [len(group["rules"]) for group in rules["spec"]["groups"]] == [len(ALERTS["groups"][0]["rules"])]
    assert "$NAMESPACE" not in json.dumps(rules)
    assert f'namespace="{NAMESPACE}"' in rules["spec"]["groups"][0]["rules"][0]["expr"]


def test_the_dashboard_is_shipped_whole() -> None:
    shipped = named(render(SWITCHES["service monitor"]), "ConfigMap", "unclip-dashboard")
    assert json.loads(shipped["data"]["unclip.json"]) == DASHBOARD


def test_scalers_ask_each_stage_for_its_own_saturation_and_queue() -> None:
    scalers = of_kind(render(SWITCHES["keda"]), "ScaledObject")
    for scaler in scalers:
        name = scaler["metadata"]["name"]
        queries = [t["metadata"]["query"] for t in scaler["spec"]["triggers"] if t["type"] == "prometheus"]
        if name == "unclip-gateway":
            assert queries == []
            continue
        assert [line for query in queries for line in wrong(query)] == []
        pods = f'{{namespace="{NAMESPACE}",pod=~"{name}-.*"}}'
        assert sorted(queries) == [f"sum(unclip_queue_depth{pods})", f"sum(unclip_saturation{pods})"]
    assert len(scalers) == 5


def test_horizontal_pod_autoscalers_ask_for_the_same_figures() -> None:
    for scaler in of_kind(render(SWITCHES["hpa"]), "HorizontalPodAutoscaler"):
        asked = {each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"}
        assert asked <= set(published())
        assert (asked == set()) == (scaler["metadata"]["name"] == "unclip-gateway")
