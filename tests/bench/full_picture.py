"""full_picture: one picture from Karlo v1 alpha at full size, random weights, through the gateway, float32 on the CPU.

The repository as it was published, in half precision, served by ``unclip.local.stack.LocalStack``: four processes that
hold all 3.4 billion parameters at once. A caption is sent with nothing else, so that the steps
are Karlo's own (25 guided ones of the prior, for two candidates; 25 guided ones of the decoder; 7 of the upsampler). It
shows that the whole works at this size, and what each stage takes; random weights draw noise.
"""

from __future__ import annotations

import time

import numpy as np
from PIL import Image

from tests.bench.asking import CAPTION
from tests.bench.full_size import write
from tests.bench.memory import MIB, PATIENCE_S
from tests.bench.options import Options
from tests.bench.report import Report
from tests.karlo import ALPHA, INDEXES, make_tiny_karlo
from tests.processes import resident
from unclip.client import Client, Generate, GeneratedImage, Progress
from unclip.local.stack import LocalStack

FOLDERS = ("text_encoder", "prior", "text_proj", "decoder", "super_res_first", "super_res_last")
SLOWEST = {role: ("--max-deadline", str(PATIENCE_S)) for role in ("encoder", "prior", "decoder", "gateway")}


def run(options: Options) -> Report:
    """Writes the repository, serves it, asks for a picture; in a hurry those of toy size."""
    report, folder = Report("full_picture"), options.scratch / ALPHA
    began = time.monotonic()
    if options.quick:
        make_tiny_karlo(options.scratch)
    else:
        report.figure("parameters_millions", round(write(folder, FOLDERS, INDEXES[ALPHA]) / 1e6))
    report.figure("written_s", round(time.monotonic() - began))
    began = time.monotonic()
    with LocalStack(folder, threads=options.threads, patience=PATIENCE_S, options=SLOWEST) as stack:
        report.figure("ready_s", round(time.monotonic() - began))
        began = time.monotonic()
        picture, ended = watched(stack.address)
        report.figure("picture_s", round(time.monotonic() - began))
        peaks = {role: resident("VmHWM", pid) // MIB for role, pid in stack.pids.items()}
    for stage, (steps, seconds) in ended.items():
        report.rows.append({"stage": stage, "steps": steps, "seconds": round(seconds, 1)})
    report.figure("side_px", picture.width)
    report.figure("deviation_of_255", float(np.asarray(picture).std()))
    for role, peak in peaks.items():
        report.figure(f"{role}_peak_mib", peak)
    return report


def watched(address: str) -> tuple[Image.Image, dict[str, tuple[int, float]]]:
    """A picture, and of each stage in turn its steps and seconds."""
    ended: dict[str, tuple[int, float]] = {}
    pictures: list[Image.Image] = []
    before = time.monotonic()
    with Client(address, timeout=PATIENCE_S) as client:
        for event in client.stream(Generate(CAPTION, seed=0)):
            if isinstance(event, Progress) and event.step == event.of:
                now = time.monotonic()
                ended[event.stage] = (event.of, now - before)
                before = now
            elif isinstance(event, GeneratedImage):
                pictures.append(event.to_pil())
    [picture] = pictures
    return picture, ended
