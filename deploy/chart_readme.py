"""Writes the chart's README.md: what it is, from Chart.yaml, and every value, from values.yaml and the comments there.

``python -m deploy.chart_readme`` after a value was changed; a test compares. The comments have the form of helm-docs:
what stands behind ``# --`` above a value is its description, and a map with one is told as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "helm" / "unclip"
README = CHART / "README.md"
KEY = re.compile(r"( *)([A-Za-z][\w-]*):")
LONGEST = 120  # of a default that is shown

INTRODUCTION = """\
# {name}

![Version: {version}](https://img.shields.io/badge/Version-{badge}-informational)
![Type: {type}](https://img.shields.io/badge/Type-{type}-informational)
![AppVersion: {appVersion}](https://img.shields.io/badge/AppVersion-{appVersion}-informational)

{description}

**Homepage:** <{home}>

## Installing

```sh
helm install unclip deploy/helm/unclip --namespace pictures --create-namespace --values deploy/helm/examples/laptop.yaml
helm test unclip --namespace pictures
```

`deploy/helm/examples` has values for a laptop, one GPU, many decoders and OpenShift; docs/deploy.md tells how to go on,
docs/runbook.md what to do about alerts.

## Requirements

Kubernetes: `{kubeVersion}`. None of these is needed: KEDA or a metrics API (`autoscaling`), cert-manager
(`tls.certManager`), the Prometheus operator (`monitoring`), the Gateway API (`grpcRoute`).

## Values

| Key | Type | Default | Description |
|-----|------|---------|-------------|
"""


def described(text: str) -> dict[tuple[str, ...], str]:
    """Descriptions in a values.yaml by the path of their value, in its order."""
    found: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            said = bare.removeprefix("#").strip()
            if said.startswith("-- "):
                comment = [said.removeprefix("-- ")]
            elif comment:
                comment.append(said)
            continue
        match = KEY.match(line)
        if match:
            depth = len(match[1])
            path = [(at, key) for at, key in path if at < depth] + [(depth, match[2])]
            if comment:
                found[tuple(key for _, key in path)] = " ".join(comment)
        comment = []
    return found


def leaves(values: Any, known: Mapping[tuple[str, ...], str], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of what is told in a row of its own: values with a description, else what has none below it."""
    if path not in known and isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, known, (*path, key))
    else:
        yield path


def row(path: tuple[str, ...], value: Any, about: str) -> str:
    """A line of the table."""
    kinds = {bool: "bool", int: "int", float: "float", str: "string", list: "list", dict: "object"}
    default = json.dumps(value)
    shown = f"`{default}`" if len(default) <= LONGEST else "see values.yaml"
    return f"| {'.'.join(path)} | {kinds[type(value)]} | {shown} | {about} |".replace("||", "\\|\\|")


def at(values: Any, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    for key in path:
        values = values[key]
    return values


def readme() -> str:
    """The whole text."""
    text = (CHART / "values.yaml").read_text()
    values, known = yaml.safe_load(text), described(text)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    rows = [row(path, at(values, path), known.get(path, "")) for path in leaves(values, known)]
    return INTRODUCTION.format(**chart, badge=chart["version"].replace("-", "--")) + "\n".join(rows) + "\n"


def main() -> None:
    """Rewrites the file."""
    README.write_text(readme())


if __name__ == "__main__":
    main()
