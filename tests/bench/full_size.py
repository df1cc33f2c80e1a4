"""full_size: every service with the networks of a family at full size, random weights, float32 on the CPU.

``--family``: karlo (v1 alpha, 3.7 billion parameters), kandinsky (2.2) or stable_unclip (the small one), these two at
512 px. One service at a time: its part of a checkpoint is written in half precision, served, asked for
one step through each network, and removed. The bar: a service's peak memory is at most 1.15 times its weights and what
one forward takes beside them. See ``memory`` for how that is measured.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.bench.karlo import make_karlo_part
from tests.bench.latent_families import FAMILIES
from tests.bench.memory import BAR, OF_LATENTS, SERVICES, idle, measure
from tests.bench.options import Options
from tests.bench.report import Report
from tests.karlo import ALPHA, INDEXES, VARIATIONS
from unclip.networks.interface import COMPONENTS


def run(options: Options) -> Report:
    """Measures service after service."""
    latent = FAMILIES.get(options.family)
    report, base = Report("full_size" + (f"_{options.family}" if latent else "")), idle(options)
    parameters = 0
    for service in OF_LATENTS if latent else SERVICES:
        place = options.scratch / service.name
        place.mkdir()
        began = time.monotonic()
        if latent:
            names = {str(network): component for network, component in COMPONENTS.items()}
            folder, numbers = latent.write(place, [names.get(name, name) for name in service.folders])
        else:
            folder = place / ALPHA
            # The encoder's two halves are of one folder here, hence no index that denies one of them.
            numbers = write(folder, service.folders, None if service.name == "encoder" else INDEXES[ALPHA])
        parameters += numbers
        written = time.monotonic() - began
        row = measure(service, folder, options.threads, options.scratch, base)
        report.rows.append({**row, "written_s": round(written)})
        report.figure(f"{service.name}_over_weights", float(str(row["over_weights"])), f"<= {BAR}")
        report.figure(f"{service.name}_without_base", float(str(row["without_base"])))
        shutil.rmtree(place)
        print(f"   {json.dumps(report.rows[-1])}", flush=True)
    report.figure("parameters_millions", round(parameters / 1e6))
    report.notes.append("weights lie on disk in float16; ready_s has reading, converting, digests and two steps in it")
    if latent:
        report.notes.append("the autoencoder is counted twice among the parameters: two services have a half each")
    else:
        report.notes.append(f"as published the encoder's image half is in {VARIATIONS}")
    return report


def write(folder: Path, networks: Sequence[str], index: object) -> int:
    """What a service reads of a checkpoint of random weights; how many numbers they are."""
    folder.mkdir()
    if index is not None:
        (folder / "model_index.json").write_text(json.dumps(index))
        if "text_encoder" not in networks:  # not loaded either: it tells whose embeddings these are
            (folder / "text_encoder").mkdir()
            save_file({"none": torch.zeros(1)}, folder / "text_encoder" / "model.safetensors")
    return sum(make_karlo_part(folder, name) for name in networks)
