"""A model service whose steps also sleep, so long for each row: ``python -m tests.drill.slow --module MODULE options``.

What such a stage can do is known, on any machine and beside other work.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

from unclip.networks.idle_threads import spin_briefly

TICK_S, ROW_S = 0.002, 0.008


def main(module: str, arguments: list[str]) -> int:
    """Runs ``module`` with walks that take `TICK_S` a step and `ROW_S` a row at least; candidates of a prior do not."""
    spin_briefly()  # before torch comes
    from unclip.engine.trajectory import Trajectory, TrajectoryProgram

    swift = TrajectoryProgram.tick

    def tick(program: TrajectoryProgram, walks: Sequence[Trajectory]) -> None:
        if module == "decoder_svc":
            time.sleep(TICK_S + ROW_S * len(walks))
        swift(program, walks)

    TrajectoryProgram.tick = tick  # type: ignore[method-assign, assignment]
    from unclip.serving.server import main as serve

    return serve(module, importlib.import_module(f"{module}.settings").Settings, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--module", required=True)
    chosen, others = parser.parse_known_args()
    sys.exit(main(chosen.module, others))
