"""``python -m tests.cluster``: the laptop's values on a cluster of one node, whose kubelet runs the images.

Its binaries are in the folder that UNCLIP_KUBE_BIN names, archives of the images in that of UNCLIP_KUBE_IMAGES. Prints
a table, writes out/cluster/cluster.json, and exits 1 when something was not as it has to be. Where it cannot run it
says why, and exits 0. Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.bench.report import commit, machine, table
from tests.cluster import control_plane, kubelet, laptop

INSIDE = "--inside"


def main() -> int:
    """Outside: makes the namespaces, and runs itself there."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/cluster"), help="folder of cluster.json and all logs")
    parser.add_argument(INSIDE, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        return inside(chosen.inside.absolute(), chosen.out.absolute())
    if reason := kubelet.impossible(laptop.ARCHIVES):
        print(f"skipped: {reason}")
        return 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="node-", dir=chosen.out) as folder:
        out = str(chosen.out)
        return kubelet.apart([sys.executable, "-m", "tests.cluster", "--out", out, INSIDE, folder])


def inside(folder: Path, out: Path) -> int:
    """The run itself, everything but its report and logs in ``folder``."""
    report = laptop.Report()
    try:
        kubelet.network(folder)
        with control_plane.control_plane(folder) as api, kubelet.node(folder, api, laptop.ARCHIVES):
            asyncio.run(laptop.run(api, folder, out, report))
    finally:
        for log in folder.glob("*.log"):
            (out / log.name).write_bytes(log.read_bytes())
        told = {"machine": machine(), "commit": commit(), "steps": report.rows}
        (out / "cluster.json").write_text(json.dumps(told, indent=1) + "\n")
        print(table(report.rows))
    return int(not all(row["ok"] for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
