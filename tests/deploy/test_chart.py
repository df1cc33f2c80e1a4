"""The chart, in every variant: accepted by Helm, by Kubernetes' own schemas, and by our rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import CHART, NAMESPACE, ROOT, Object, Values, named, notes, render
from tests.deploy.rules import RULES, Rule
from tests.deploy.variants import SWITCHES, variants

VARIANTS = variants()
KUBERNETES = ("1.30", "1.33", "1.35", "1.37")  # the oldest that the chart allows, two between, the newest there is
CRDS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "tests" / "data" / "crds").glob("*.json")}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_helm_lint_has_nothing_to_warn_of(values: Values) -> None:
    report = helm_python.lint(CHART, dict(values), strict=True, namespace=NAMESPACE)
    assert report["total_charts_linted"] == 1
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_lint_looks() -> None:
    assert helm_python.lint(CHART, {"tls": {"enabled": "yes"}}, strict=True)["errors"]


@pytest.fixture(scope="module")
def distinct() -> list[tuple[str, Object]]:
    """Every object of every variant with the variant's name, each different one once."""
    seen: dict[str, tuple[str, Object]] = {}
    for name, values in VARIANTS.items():
        for found in render(values):
            seen.setdefault(json.dumps(found, sort_keys=True), (name, found))
    return list(seen.values())


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(version: str, distinct: list[tuple[str, Object]], monkeypatch: Any) -> None:
    read_once(monkeypatch)
    wrong = []
    for variant, found in distinct:
        if found["kind"] in CRDS:
            continue
        if version == "1.30" and '"image": {' in json.dumps(found):
            continue  # volumes from images came with 1.31
        try:
            assert kubernetes_validate.validate(found, version, strict=True) == version
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{variant}: {found['kind']} {found['metadata']['name']}: {error.json_path}: {error.message}")
    assert wrong == []


def test_kubernetes_refuses_an_unknown_field(monkeypatch: Any) -> None:
    read_once(monkeypatch)
    [deployment, *_] = [found for found in render({}) if found["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["grpc"]["servce"] = "typo"
    with pytest.raises(kubernetes_validate.ValidationError, match="servce"):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


def read_once(monkeypatch: Any) -> None:
    """The library reads its schemas, megabytes of JSON, for every object anew."""
    known: dict[tuple[str, str], Any] = {}
    read = kubernetes_validate.utils.schema_contents

    def schema_contents(filename: str, desired_version: str) -> Any:
        if (filename, desired_version) not in known:
            known[filename, desired_version] = read(filename, desired_version)
        return known[filename, desired_version]

    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", schema_contents)


def test_custom_resources_have_the_fields_of_their_definitions(distinct: list[tuple[str, Object]]) -> None:
    checked = set()
    for variant, found in distinct:
        if found["kind"] in CRDS:
            checked.add(found["kind"])
            errors = jsonschema.Draft202012Validator(CRDS[found["kind"]]).iter_errors(found)
            assert [f"{variant}: {error.json_path}: {error.message}" for error in errors] == []
    assert checked == set(CRDS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_variant_keeps_the_rule(rule: Rule) -> None:
    assert [f"{name}: {line}" for name, values in VARIANTS.items() for line in rule(render(values))] == []


@pytest.mark.parametrize("release", ["unclip", "a", "pictures-of-cats", "r" * 53])
def test_any_release_name_will_do(release: str) -> None:
    assert [line for rule in RULES for line in rule(render({}, release))] == []


def scalars(found: Any) -> Iterator[tuple[str, Any]]:
    """Labels, selectors' labels, names and namespaces in an object, however deep, by key."""
    for key, value in found.items() if isinstance(found, Mapping) else enumerate(found):
        if isinstance(value, Mapping | list):
            yield from scalars(value)
        elif key in ("name", "namespace") or "kubernetes.io/" in str(key):
            yield str(key), value


@pytest.mark.parametrize("word", ["123", "1e3", "true", "null"])
def test_names_that_yaml_reads_as_something_else_stay_names(word: str) -> None:
    """A namespace of digits is a valid one, and so is a release's name."""
    with helm_python.Chart.load(CHART) as chart:
        for values in (SWITCHES["service monitor"], SWITCHES["tls by cert-manager"], {"nameOverride": word}):
            files = chart.render(dict(values), name=word, namespace=word)
            found = [
                each for name, text in files.items() if name.endswith(".yaml") for each in yaml.safe_load_all(text)
            ]
            assert [(key, value) for key, value in scalars(found) if not isinstance(value, str)] == []


@pytest.mark.parametrize("label", ["app.kubernetes.io/name", "app.kubernetes.io/component", "unclip/metrics"])
def test_labels_that_select_are_not_common_ones(label: str) -> None:
    """Monitors would find no Service of the release any more."""
    with pytest.raises(helm_python.HelmError, match=re.escape(label)):
        render({"commonLabels": {label: "shop"}})
    render({"commonLabels": {"app.kubernetes.io/part-of": "shop", "team": "pictures"}})


def test_two_releases_share_no_name_and_no_pod() -> None:
    one, two = (render({}, release) for release in ("one", "two"))
    names = [{(found["kind"], found["metadata"]["name"]) for found in objects} for objects in (one, two)]
    assert not names[0] & names[1]
    selectors = [found["spec"]["selector"] for found in one if found["kind"] == "Service"]
    labels = [found["spec"]["template"]["metadata"]["labels"] for found in two if found["kind"] == "Deployment"]
    assert not any(selector.items() <= label.items() for selector in selectors for label in labels)


@pytest.mark.parametrize("values", [{}, SWITCHES["tls"], SWITCHES["api keys"]], ids=["default", "tls", "api keys"])
def test_notes_warn_of_what_is_open(values: Values) -> None:
    told = notes(values)
    assert ("plain text" in told) == ("tls" not in values)
    assert ("everyone" in told) == ("apiKeys" not in values)


def test_notes_tell_where_the_ca_is_and_that_a_certificate_is_asked_for() -> None:
    secured: Values = {"enabled": True, "trust": {"configMap": "cas", "key": "all.pem"}, "clients": {"required": True}}
    told = notes({"tls": secured})
    assert "get configmap cas --output jsonpath='{.data.all\\.pem}' > ca.pem" in told
    assert "--tls-cert client.pem --tls-key client.key\n" in told
    told = notes({"tls": {"enabled": True}})
    assert "get secret unclip-gateway-tls --output jsonpath='{.data.ca\\.crt}' | base64 --decode > ca.pem" in told
    assert "--tls-cert" not in told


def test_a_smallest_number_above_the_greatest_is_refused() -> None:
    """KEDA takes it without its webhook, and the API server refuses half of a release."""
    with pytest.raises(helm_python.HelmError, match=r"decoder\.autoscaling: minReplicas is 12, above maxReplicas, 10"):
        render({"decoder": {"autoscaling": {"kind": "keda", "minReplicas": 12}}})
    render({"decoder": {"autoscaling": {"kind": "none", "minReplicas": 12}}})


def test_helm_test_runs_where_a_gateway_may() -> None:
    values: Values = {"gateway": {"nodeSelector": {"pool": "front"}, "tolerations": [{"key": "front"}]}}
    spec = named(render(values), "Pod", "unclip-test")["spec"]
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"pool": "front"}, [{"key": "front"}])


def test_the_chart_has_the_version_of_the_package() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    with helm_python.Chart.load(CHART) as chart:
        assert f'version = "{chart.metadata["appVersion"]}"' in pyproject


def test_the_dashboards_folder_is_the_charts() -> None:
    assert (Path(ROOT) / "deploy" / "dashboards" / "unclip.json").samefile(CHART / "dashboards" / "unclip.json")


@pytest.mark.parametrize(("studio", "paths"), [("on", ["/v1", "/", "/studio"]), ("off", ["/v1"])])
def test_the_ingress_leads_to_the_studio_where_that_is_served(studio: str, paths: list[str]) -> None:
    ingress = {"enabled": True, "hosts": ["img.example.com"]}
    settings = {"store": "s3://pictures", "studio": studio}
    objects = render({"web": {"enabled": True, "settings": settings, "ingress": ingress}})
    found = named(objects, "Ingress", "unclip-web")["spec"]["rules"]
    assert [path["path"] for path in found[0]["http"]["paths"]] == paths
