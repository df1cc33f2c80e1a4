"""triton: what it costs to have every network on a Triton server. A picture by default settings, over the local one.

Two stacks of `unclip.local.stack.LocalStack` from one checkpoint; the networks of one run on a real tritonserver (see
``tests/triton_server.py``) beside it, exported with ``unclip export-triton``, on the CPU with as many threads as the
other stack's services. They take turns, each as often first as second; the figure is the median of the pairs' ratios.
That both do the same work is checked by comparing a picture.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tests.bench.asking import ask
from tests.bench.options import Options
from tests.bench.overhead import CANDIDATES, LARGEST_DIFFERENCE
from tests.bench.pairs import in_turns
from tests.bench.report import Report
from tests.processes import free_port
from tests.triton_server import PATHS, NoTriton, TritonServer, wheel
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.cli.serve import NETWORKS
from unclip.client import Client
from unclip.local.stack import LocalStack
from unclip.triton import export


def run(options: Options) -> Report:
    """Measures with the checkpoint's own settings; without a tritonserver it tells so and measures nothing."""
    report, checkpoint = Report("triton"), Checkpoint.open(options.checkpoint)
    try:
        wheel()
    except NoTriton as reason:
        report.notes.append(f"not measured: {reason}")
        return report
    models = options.scratch / "models"
    names = [
        folder.name
        for folder in export.export(
            str(options.checkpoint), models, export.Options(threads=options.threads, python_path=PATHS)
        )
    ]
    settings = {stage: checkpoint.defaults(stage) for stage in ("prior", "decoder", "upsampler")}
    with TritonServer(models, options.scratch, free_port()) as server:
        server.wait_ready(names, 300)
        with (
            LocalStack(options.checkpoint, options=flags(names, server)) as remote,
            LocalStack(options.checkpoint, threads=options.threads) as local,
            Client(remote.address) as theirs,
            Client(local.address) as ours,
        ):
            there, here = (partial(ask, client, settings=settings, candidates=CANDIDATES) for client in (theirs, ours))
            difference = int(np.abs(there(0).astype(int) - here(0).astype(int)).max())
            if difference > LARGEST_DIFFERENCE:
                raise RuntimeError(f"the two ways differ by {difference}/255: they do not do the same")
            found = in_turns(there, here, options.precision)
    report.rows.append({**found.row("triton", "local"), "difference": difference})
    report.figure("triton_over_local", found.ratio, "<= 1.1", found.interval)
    return report


def flags(names: list[str], server: TritonServer) -> dict[str, list[str]]:
    """What the services of a stack are told to have these networks on the server."""
    return {
        role: [
            word
            for name in served
            if name in names
            for word in ("--network", f"{name}=triton://{server.address}/{name}")
        ]
        for role, served in NETWORKS.items()
    }
