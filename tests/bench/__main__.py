"""``python -m tests.bench [names] [--quick] [--checkpoint PATH] [--family NAME]``: measures, prints tables, and writes
out/bench/*.json.

Each benchmark compares in one run on one machine, so that its ratios hold where its seconds do not; what each one
measures, and how, is told at the head of its file. What is compared pair by pair is repeated until the 95 % confidence
interval of the ratio is narrower than 3 %, or for --limit seconds. A bar is met, or missed, only if the whole interval
says so.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.bench.intervals import Precision
from tests.bench.options import Options
from tests.bench.report import Report, cores
from unclip.errors import UnclipError

NAMES = ("overhead", "peer", "defaults", "mixed", "scale", "memory", "web", "studio", "triton", "student", "gpu")
FAMILIES = ("karlo", "kandinsky", "stable_unclip")
# Long: 9 GiB and 3 of disk (Kandinsky's encoder 13 and 5), 20 and 7 (10), an hour. Or a part of another, `scale`.
ON_REQUEST = ("full_size", "full_picture", "equality", "gateways")


def main() -> int:
    """Runs the benchmarks named, all when none is; 1 when one could not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"which of {', '.join(NAMES)}, or {', '.join(ON_REQUEST)}; else all but these"
    )
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean nothing")
    parser.add_argument("--checkpoint", type=Path, help="default: the embedded one; with --quick a tiny random one")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="of what is measured at full size")
    parser.add_argument("--threads", type=int, default=cores(), help="CPU threads of whatever has networks")
    parser.add_argument(
        "--limit", type=float, default=Precision.limit_s, metavar="S", help="seconds that a pair may be repeated for"
    )
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="folder of the JSON files")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - {*NAMES, *ON_REQUEST}:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    for variable in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(variable, "error")  # their advice is not for tables
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.update(UNCLIP_DEVICE="cpu", UNCLIP_PRECISION="float32")  # of services; `gpu` chooses for itself
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that services started here are ended too
    failed = False
    with tempfile.TemporaryDirectory(prefix="unclip-bench-") as scratch:
        options = Options(
            chosen.quick, chosen.threads, Path(scratch), chosen.checkpoint, chosen.family, chosen.limit, chosen.out
        )
        for name in chosen.names or NAMES:
            began = time.monotonic()
            try:
                report: Report = importlib.import_module(f"tests.bench.{name}").run(options)
            except Exception as error:  # the others may run all the same
                if not isinstance(error, UnclipError):
                    traceback.print_exc()
                print(f"== {name}\n\ncould not run: {error}\n", file=sys.stderr, flush=True)
                failed = True
                continue
            if options.quick:
                report.notes.append("a quick run, to see that it runs: its figures mean nothing")
            path = report.write(chosen.out)
            print(f"{report.text()}\n\n{path}, {time.monotonic() - began:.0f} s\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
