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

from tests.bench.intervals import Interval

Row = Mapping[str, object]
Compare = Callable[[float, float], bool]
MET, MISSED, UNDECIDED = "met", "MISSED", "not decided"
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve")  # flags of /proc/cpuinfo
BUSY = 0.5  # of the cores: so many were wanted by others
COMPARISONS: Mapping[str, Compare] = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass
class Report:
    """One benchmark's findings.

    ratios: figure by name; most are ratios, and the name of any other ends with its unit. intervals: where a figure is,
    with 95 % confidence. bars: the figure's bar, such as "<= 1.05", where there is one. rows: the measurements. notes:
    what a reader of the figures has to know. machine: where, as it was when this was made.
    """

    name: str
    ratios: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    bars: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=lambda: machine())

    def figure(self, name: str, value: float, bar: str = "", interval: Interval | None = None) -> None:
        """Adds a figure, its bar if it has one, and where it is with 95 % confidence where that is known."""
        self.ratios[name] = round(value, 4)
        if interval is not None:
            self.intervals[name] = interval
        if bar:
            self.bars[name] = bar

    def verdict(self, name: str) -> str:
        """Whether a figure meets its bar: ``MET`` or ``MISSED``; ``UNDECIDED`` when it is known too badly for either;
        "" when it has none."""
        if name not in self.bars:
            return ""
        sign, bar = self.bars[name].split()
        known = self.intervals.get(name, Interval(self.ratios[name], self.ratios[name]))
        [verdict, *others] = {MET if COMPARISONS[sign](end, float(bar)) else MISSED for end in (known.low, known.high)}
        return UNDECIDED if others else verdict

    def write(self, folder: Path) -> Path:
        """Writes ``<name>.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        found = {
            "machine": self.machine,
            "commit": commit(),
            "ratios": self.ratios,
            "bars": self.bars,
            "intervals": {name: found.rounded() for name, found in self.intervals.items()},
            "verdicts": {name: self.verdict(name) for name in self.bars},
            "notes": self.remarks(),
            "rows": self.rows,
        }
        path.write_text(json.dumps(found, indent=1) + "\n")
        return path

    def text(self) -> str:
        """Rows, figures and notes as tables."""
        figures = [
            {
                "figure": name,
                "value": value,
                "95 %": f"{found.low:.4g} to {found.high:.4g}" if (found := self.intervals.get(name)) else "",
                "bar": self.bars.get(name, ""),
                "": self.verdict(name),
            }
            for name, value in self.ratios.items()
        ]
        parts = [
            f"== {self.name}",
            self._where(),
            table(self.rows),
            table(figures),
            *(f"note: {note}" for note in self.remarks()),
        ]
        return "\n\n".join(part for part in parts if part)

    def remarks(self) -> list[str]:
        """The notes, and one more where others had the machine too, who may slow one way more than the other."""
        load, cores = (float(str(self.machine[name])) for name in ("load", "cores"))
        busy = f"the machine was busy when this began, load {load:g} on {cores:g} cores: do not trust the figures"
        return [*self.notes, *([busy] if load > BUSY * cores else [])]

    def _where(self) -> str:
        """The processor, and what else ran when this began."""
        found = self.machine
        return f"{found['cpu']}, {found['vectors']}, {found['cores']} cores, load {found['load']} at the start"


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
        "cpu": cpu(),
        "vectors": " ".join(vectors()) or "no known vector flags",
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


CPUINFO = Path("/proc/cpuinfo")


def cpu() -> str:
    """The processor's name, with family and model, since virtual machines call several generations alike."""
    found = _cpuinfo()
    name = found.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{word} {found[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in found]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def vectors() -> list[str]:
    """Those of `VECTORS` that the processor says it has."""
    found = _cpuinfo()
    flags = (found.get("flags") or found.get("Features") or "").split()
    return [name for name in VECTORS if name in flags]


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; nothing elsewhere."""
    first = CPUINFO.read_text().partition("\n\n")[0] if CPUINFO.exists() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


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
