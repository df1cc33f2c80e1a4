"""What ``unclip doctor`` finds: one line each, how bad it is, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, how it is, what was seen, and what to do unless all is well."""

    name: str
    state: State
    found: str
    advice: str = ""


def table(findings: Sequence[Finding]) -> str:
    """The findings as lines under each other, advice indented below what it is for; a summary comes last."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<4}  {finding.name:<{width}}  {finding.found}")
        if finding.advice:
            lines.append(f"      {'':<{width}}  -> {finding.advice}")
    counts = {state: sum(finding.state == state for finding in findings) for state in ("ok", "warn", "fail")}
    return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counts.items())])
