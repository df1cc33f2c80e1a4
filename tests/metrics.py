"""What a process tells Prometheus, read as Prometheus does."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Metrics:
    """The figures at ``host:port``, fetched anew by every question."""

    address: str

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of a name that bear these labels, 0 where there is none."""
        return sum(self._samples(name, labels))

    def known(self, name: str, **labels: str) -> float:
        """The same. Raises LookupError where there is none, so that a misspelt gauge is not taken for an empty one."""
        found = self._samples(name, labels)
        if not found:
            raise LookupError(f"{self.address} tells nothing of {name} {labels or ''}")
        return sum(found)

    def _samples(self, name: str, labels: Mapping[str, str]) -> list[float]:
        page = urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10).read().decode()
        return [
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
