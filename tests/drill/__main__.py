"""``python -m tests.drill [names] [--short]``: what can happen to a cluster happens, and its users must not notice.

Real processes on loopback addresses, found through a name server; stubbed stages where only the load matters, the tiny
checkpoint where pixels do. Prints a table, writes out/drill/drill.json, and exits 1 when a drill found something.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.bench.report import commit, machine, table
from tests.drill.report import Finding, Setting

NAMES = (
    *("rolling", "kill", "freeze", "sick", "uneven", "grow", "overload", "late", "storm", "hostile", "rotation"),
    "tls",
    "versions",
    "metadata",
    "poison",
    "stalled",
    "web",
)


def drill(name: str, setting: Setting) -> Finding:
    """Runs one."""
    folder = setting.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"tests.drill.{name}")
    finding: Finding = asyncio.run(module.run(Setting(setting.short, folder, setting.checkpoint)))
    return finding


def main() -> int:
    """Runs the drills named, all when none is."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(NAMES)}; all when none is named")
    parser.add_argument("--short", action="store_true", help="as in the test suite: seconds instead of minutes")
    parser.add_argument("--out", type=Path, default=Path("out/drill"), help="folder of drill.json")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"no drill is called {', '.join(sorted(unknown))}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="unclip-drill-") as scratch:
        from tests.tiny import make_tiny_checkpoint  # imports torch

        setting = Setting(chosen.short, Path(scratch), make_tiny_checkpoint(Path(scratch) / "tiny"))
        for name in chosen.names or NAMES:
            began = time.monotonic()
            try:
                found = drill(name, setting)
            except Exception:
                traceback.print_exc()
                found = Finding(name)
                found.claim("it could not be run", held=False)
            row = {
                "drill": found.name,
                "ok": found.ok,
                "seconds": round(time.monotonic() - began),
                "figure": found.figure,
            }
            print(json.dumps(row, ensure_ascii=False), flush=True)
            rows.append(row)
    chosen.out.mkdir(parents=True, exist_ok=True)
    drills = [
        {"name": row["drill"], "ok": row["ok"], "figure": row["figure"], "seconds": row["seconds"]} for row in rows
    ]
    report = {"machine": machine(), "commit": commit(), "short": chosen.short, "drills": drills}
    (chosen.out / "drill.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{table(rows)}\n\n{chosen.out / 'drill.json'}")
    return int(not all(row["ok"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
