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

from tests.deploy.chart import CHART, NAMESPACE, ROOT, Object, Values, named, of_kind, render
from tests.deploy.variants import SWITCHES, merged
from unclip.serving import metrics
from unclip.web import calls

SCRAPED = {"namespace", "pod", "job", "instance", "le"}  # labels that Prometheus adds
ALERTS = yaml.safe_load((CHART / "alerts" / "unclip.yaml").read_text())
DASHBOARD = json.loads((CHART / "dashboards" / "unclip.json").read_text())


def published() -> dict[str, set[str]]:
    """Names of time series with their labels, as they would be scraped; `up` is Prometheus' own."""
    series: dict[str, set[str]] = {"up": set()}
    for found in (*vars(metrics).values(), *vars(calls).values()):
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
    query = query.replace("$__rate_interval", "5m").replace("$namespace", "x").replace("$CERTIFICATE_SECONDS", "1")
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


def alerts(values: Values, release: str = "unclip") -> dict[str, Object]:
    """The alerts of a release by name."""
    objects = render(merged(SWITCHES["service monitor"], values), release)
    [rules] = of_kind(objects, "PrometheusRule")
    return {rule["alert"]: rule for group in rules["spec"]["groups"] for rule in group["rules"]}


def watched(rule: Object) -> list[str]:
    """The patterns of pods that an alert looks at."""
    return re.findall(r'pod=~"([^"]+)"', rule["expr"])


def pods_of(values: Values, release: str) -> list[str]:
    """Names of pods as a cluster gives them."""
    return [f"{each['metadata']['name']}-6d5f8c9b7-x2x4z" for each in of_kind(render(values, release), "Deployment")]


def test_the_runbook_tells_what_to_do_about_each_alert() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    told = re.findall(r"^## (Unclip\w+)$", runbook, re.MULTILINE)
    assert told == [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]
    for name, rule in alerts({}).items():
        assert rule["annotations"]["runbook_url"] == f"https://unclip.example.com/docs/runbook.md#{name.lower()}"
    elsewhere: Values = {"monitoring": {"alerts": {"runbookUrl": "https://wiki.example.com/pictures"}}}
    assert alerts(elsewhere)["UnclipDown"]["annotations"]["runbook_url"].startswith(
        "https://wiki.example.com/pictures#"
    )


def test_everything_is_filled_in_in_the_alerts_of_a_release() -> None:
    found = alerts({})
    assert list(found) == [rule["alert"] for rule in ALERTS["groups"][0]["rules"]]
    assert not re.search(r"\$[A-Z]", json.dumps(found))
    for rule in found.values():
        assert f'namespace="{NAMESPACE}"' in rule["expr"]
        assert wrong(rule["expr"]) == []


@pytest.mark.parametrize("release", ["unclip", "a"])
def test_alerts_watch_all_pods_of_their_release_and_of_no_other(release: str) -> None:
    values: Values = {"web": {"enabled": True}}
    own, others = (
        pods_of(values, release),
        [pod for other in ("a-b", "unclip-b", "b") for pod in pods_of(values, other)],
    )
    for name, rule in alerts(values, release).items():
        for pattern in watched(rule):
            assert any(re.fullmatch(pattern, pod) for pod in own), name
            assert [pod for pod in others if re.fullmatch(pattern, pod)] == [], name
    [down] = watched(alerts(values, release)["UnclipDown"])
    assert all(re.fullmatch(down, pod) for pod in own)


@pytest.mark.parametrize("values", [{}, SWITCHES["one pool"]], ids=["four pools", "one pool"])
def test_no_stage_can_be_missing_unnoticed(values: Values) -> None:
    patterns = watched(alerts(values)["UnclipStageMissing"])
    assert all(any(re.fullmatch(pattern, pod) for pattern in patterns) for pod in pods_of(values, "unclip"))
    assert all(any(re.fullmatch(pattern, pod) for pod in pods_of(values, "unclip")) for pattern in patterns)


def test_no_gateway_at_all_is_noticed_though_nothing_is_there_to_tell() -> None:
    """A target that is gone has no `up`; what joins a gateway's figures is silent then."""
    rule = alerts({})["UnclipGatewayMissing"]
    assert rule["expr"].startswith("absent(up{")
    [pattern] = watched(rule)
    assert [each for each in pods_of({}, "unclip") if re.fullmatch(pattern, each)] == [
        "unclip-gateway-6d5f8c9b7-x2x4z",
    ]


def test_a_certificate_that_will_be_renewed_in_time_is_no_reason_for_alarm() -> None:
    """cert-manager renews where a third of a certificate's time is left; an alert above that would never be silent."""
    hours = int(
        named(render(SWITCHES["tls by cert-manager"]), "Certificate", "unclip-encoder")["spec"]["duration"][:-5]
    )
    seconds = int(alerts({})["UnclipCertificateEnds"]["expr"].rpartition("<")[2])
    assert 3600 <= seconds < hours * 3600 / 3
    told = (ROOT / "docs" / "observability.md").read_text()
    assert re.findall(r"certificate_expiry_seconds\) < (.+)", told) == [str(seconds)]
    assert alerts({"monitoring": {"alerts": {"certificateSeconds": 7200}}})["UnclipCertificateEnds"]["expr"].endswith(
        "< 7200"
    )


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
        pods = f'{{namespace="{NAMESPACE}",pod=~"{name}-[^-]+(-[^-]+)?"}}'
        assert sorted(queries) == [f"sum(unclip_queue_depth{pods})", f"sum(unclip_saturation{pods})"]
    assert len(scalers) == 5


def test_horizontal_pod_autoscalers_ask_for_the_same_figures() -> None:
    for scaler in of_kind(render(SWITCHES["hpa"]), "HorizontalPodAutoscaler"):
        asked = {each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"}
        assert asked <= set(published())
        assert (asked == set()) == (scaler["metadata"]["name"] == "unclip-gateway")
