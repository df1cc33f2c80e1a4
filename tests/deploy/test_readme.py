"""The chart's README.md is what values.yaml says, and Chart.yaml has what catalogues of charts ask for."""

from __future__ import annotations

import re

import yaml

from deploy import chart_readme
from tests.deploy.chart import CHART, ROOT
from tests.deploy.test_figures import ALERTS

VALUES = (CHART / "values.yaml").read_text()
ABOUT = yaml.safe_load((CHART / "Chart.yaml").read_text())


def test_the_readme_is_fresh() -> None:
    assert chart_readme.README.read_text() == chart_readme.readme(), "run `make chart`"


def test_every_value_is_described() -> None:
    known = chart_readme.described(VALUES)
    assert [path for path in chart_readme.leaves(yaml.safe_load(VALUES), known) if not known.get(path)] == []


def test_descriptions_are_of_values_that_there_are() -> None:
    values = yaml.safe_load(VALUES)
    known = chart_readme.described(VALUES)
    assert len(known) > 100
    for path in known:
        chart_readme.at(values, path)  # or KeyError


def test_descriptions_are_read_as_helm_docs_reads_them() -> None:
    text = "# -- first\n# and on\na: 1\n\n# no description\nb:\n  # -- of c\n  c: {d: 1}\n  e: 2\n"
    known = chart_readme.described(text)
    assert known == {("a",): "first and on", ("b", "c"): "of c"}
    assert list(chart_readme.leaves(yaml.safe_load(text), known)) == [("a",), ("b", "c"), ("b", "e")]


def test_chart_yaml_has_what_catalogues_ask_for() -> None:
    assert {"home", "icon", "sources", "maintainers", "keywords", "description", "kubeVersion"} <= set(ABOUT)
    assert all(maintainer["name"] for maintainer in ABOUT["maintainers"])
    noted = {key: yaml.safe_load(text) for key, text in ABOUT["annotations"].items()}
    assert {"artifacthub.io/license", "artifacthub.io/changes", "artifacthub.io/category"} <= set(noted)
    for change in noted["artifacthub.io/changes"]:
        assert change["kind"] in ("added", "changed", "deprecated", "removed", "fixed", "security")
    assert len(VALUES.splitlines()) > 100
    assert ALERTS


def test_the_version_of_the_chart_is_one_of_semantic_versioning() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", ABOUT["version"])


def test_whole_commands_are_told() -> None:
    """What follows `helm upgrade` or `helm install` can be pasted as it is: no "…" for the rest of it."""
    for page in ("docs/deploy.md", "docs/runbook.md", "docs/security.md", "docs/web.md"):
        for line in (ROOT / page).read_text().splitlines():
            if line.lstrip().startswith(("helm ", "docker ", "kubectl ")):
                assert "…" not in line.partition("sha256:")[0], f"{page}: {line}"
