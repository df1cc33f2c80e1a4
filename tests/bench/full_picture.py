"""full_picture: one picture from a family at full size, random weights, through the gateway, on the CPU.

The repository as it was published, in half precision, served by ``unclip.local.stack.LocalStack``: four processes that
hold all 3.4 billion parameters at once. A caption is sent with nothing else, so that the steps
are Karlo's own (25 guided ones of the prior, for two candidates; 25 guided ones of the decoder; 7 of the upsampler). It
shows that the whole works at this size, and what each stage takes; random weights draw noise. With ``--family``
kandinsky or stable_unclip it is one of 512 px, in bfloat16 and in few steps.
"""

from __future__ import annotations

import time

import numpy as np
from PIL import Image

from tests.bench.activations import SIDE
from tests.bench.asking import CAPTION
from tests.bench.full_size import write
from tests.bench.latent_families import FAMILIES
from tests.bench.memory import MIB, PATIENCE_S
from tests.bench.options import Options
from tests.bench.report import Report
from tests.karlo import ALPHA, INDEXES, make_tiny_karlo
from tests.processes import resident
from unclip.client import Client, Generate, GeneratedImage, Progress, Sampling
from unclip.local.stack import LocalStack

FOLDERS = ("text_encoder", "prior", "text_proj", "decoder", "super_res_first", "super_res_last")
MODELS = ("encoder", "prior", "decoder")
SLOWEST = {role: ("--max-deadline", str(PATIENCE_S)) for role in (*MODELS, "gateway")}
HALF = {role: (*words, *(("--precision", "bfloat16") if role in MODELS else ())) for role, words in SLOWEST.items()}
FEW = Generate(
    CAPTION, seed=0, width=SIDE, height=SIDE, prior_candidates=1, prior=Sampling(steps=5), decoder=Sampling(steps=5)
)


def run(options: Options) -> Report:
    """Writes the repository, serves it, asks for a picture; in a hurry those of toy size."""
    latent = FAMILIES.get(options.family)
    report, folder = Report("full_picture" + (f"_{options.family}" if latent else "")), options.scratch / ALPHA
    asked, words = (FEW, HALF) if latent else (Generate(CAPTION, seed=0), SLOWEST)
    began = time.monotonic()
    if latent:
        folder, numbers = latent.write(options.scratch, [] if options.quick else [*latent.networks])
        report.figure("parameters_millions", round(numbers / 1e6))
    elif options.quick:
        make_tiny_karlo(options.scratch)
    else:
        report.figure("parameters_millions", round(write(folder, FOLDERS, INDEXES[ALPHA]) / 1e6))
    report.figure("written_s", round(time.monotonic() - began))
    began = time.monotonic()
    with LocalStack(folder, threads=options.threads, patience=PATIENCE_S, options=words) as stack:
        report.figure("ready_s", round(time.monotonic() - began))
        began = time.monotonic()
        picture, ended = watched(stack.address, asked)
        report.figure("picture_s", round(time.monotonic() - began))
        peaks = {role: resident("VmHWM", pid) // MIB for role, pid in stack.pids.items()}
    for stage, (steps, seconds) in ended.items():
        report.rows.append({"stage": stage, "steps": steps, "seconds": round(seconds, 1)})
    report.figure("side_px", picture.width)
    report.figure("deviation_of_255", float(np.asarray(picture).std()))
    for role, peak in peaks.items():
        report.figure(f"{role}_peak_mib", peak)
    return report


def watched(address: str, asked: Generate) -> tuple[Image.Image, dict[str, tuple[int, float]]]:
    """A picture, and of each stage in turn its steps and seconds."""
    ended: dict[str, tuple[int, float]] = {}
    pictures: list[Image.Image] = []
    before = time.monotonic()
    with Client(address, timeout=PATIENCE_S) as client:
        for event in client.stream(asked):
            if isinstance(event, Progress) and event.step == event.of:
                now = time.monotonic()
                ended[event.stage] = (event.of, now - before)
                before = now
            elif isinstance(event, GeneratedImage):
                pictures.append(event.to_pil())
    [picture] = pictures
    return picture, ended
