"""What a benchmark found: figures by name, the bar each has to meet, the rows behind them, and on which machine."""

from __future__ import annotations

import json
import operator
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

Row = Mapping[str, object]
Compare = Callable[[float, float], bool]
COMPARISONS: Mapping[str, Compare] = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass
class Report:
    """One benchmark's findings.

    ratios: figure by name; most are ratios, and the name of any other ends with its unit. bars: the figure's bar, such
    as "<= 1.05", where there is one. rows: the measurements. notes: what a reader of the figures has to know.
    """

    name: str
    ratios: dict[str, float] = field(default_factory=dict)
    bars: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, name: str, value: float, bar: str = "") -> None:
        """Adds a figure, and its bar if it has one."""
        self.ratios[name] = round(value, 4)
        if bar:
            self.bars[name] = bar

    def met(self, name: str) -> bool | None:
        """Whether a figure meets its bar; None when it has none."""
        if name not in self.bars:
            return None
        sign, bar = self.bars[name].split()
        return COMPARISONS[sign](self.ratios[name], float(bar))

    def write(self, folder: Path) -> Path:
        """Writes ``<name>.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        found = {
            "machine": machine(),
            "commit": commit(),
            "ratios": self.ratios,
            "bars": self.bars,
            "met": {name: self.met(name) for name in self.bars},
            "notes": self.notes,
            "rows": self.rows,
        }
        path.write_text(json.dumps(found, indent=1) + "\n")
        return path

    def text(self) -> str:
        """Rows, figures and notes as tables."""
        verdicts = {None: "", True: "met", False: "MISSED"}
        figures = [
            {"figure": name, "value": value, "bar": self.bars.get(name, ""), "": verdicts[self.met(name)]}
            for name, value in self.ratios.items()
        ]
        parts = [f"== {self.name}", table(self.rows), table(figures), *(f"note: {note}" for note in self.notes)]
        return "\n\n".join(part for part in parts if part)


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned columns; a column for every key that any row has."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [keys, *([_cell(row.get(key)) for key in keys] for row in rows)] if rows else []
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> dict[str, object]:
    """The machine and what runs on it; load: processes that wanted a core of late, of whatever kind."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": round(pages / 2**30, 1),
        "gpu": _gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        **{name: _version(name) for name in ("torch", "diffusers", "grpcio")},
    }


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """The commit that was measured; "+" at its end tells of changes beside it."""
    found = _output("git", "rev-parse", "HEAD") or "unknown"
    return f"{found}+" if _output("git", "status", "--porcelain", "--untracked-files=no") else found


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _gpu() -> str | None:
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
