"""``unclip embed`` and ``info``."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from unclip.cli import captions, report
from unclip.cli.connection import connect
from unclip.cli.output import Folder
from unclip.cli.sources import STDIN
from unclip.cli.terminal import line
from unclip.client import Sampling, save_embeddings
from unclip.client.vectors import require_npz
from unclip.errors import InvalidRequest

EXAMPLES = 3  # captions that are shown unasked


def embed(options: argparse.Namespace) -> None:
    """Embeddings, printed as the cosine of each with each; the vectors themselves go into JSON or a file."""
    if not options.captions and not options.images:
        raise InvalidRequest.of("embed", "needs at least one --caption or --image")
    if options.out:
        Folder(require_npz(options.out).parent).require_place(options.out.name)
    pictures = [sys.stdin.buffer if path == STDIN else path for path in options.images]
    with connect(options) as client:
        answer = client.embed(options.captions, pictures, fit=options.fit)
    names = [*options.captions, *(str(path) for path in options.images)]
    embeddings = [*answer.captions, *answer.images]
    vectors = np.stack([embedding.values for embedding in embeddings])
    if options.out:
        save_embeddings(options.out, embeddings, names)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = units @ units.T
    if options.json:
        rows = [{"name": name, "values": vector.tolist()} for name, vector in zip(names, vectors, strict=True)]
        told = {"clip_space": embeddings[0].clip_space, "embeddings": rows, "cosines": np.round(cosines, 6).tolist()}
        report.print_json({**told, "notices": report.plain(answer.notices)})
        return
    report.say(answer.notices, options.command)
    width = max(len(name) for name in names)
    for index, (name, row) in enumerate(zip(names, cosines, strict=True)):
        line(" ".join([f"{index:>3}  {name:<{width}}", *(f"{cosine:6.3f}" for cosine in row)]))


def settings(sampling: Sampling) -> str:
    """How a stage samples, in a line."""
    return ", ".join(f"{name} {value}" for name, value in report.plain(sampling).items())


def info(options: argparse.Namespace) -> int:
    """What the stack has loaded and can do, or with --captions what it can be asked for."""
    if options.captions is not None:
        return captions.show(options)
    with connect(options) as client:
        model = client.model_info()
    if options.json:
        report.print_json(report.plain(model))
        return 0
    line(f"{model.name}  {model.license}  on {model.device}")
    line(f"version     {model.version}")
    line(f"clip space  {model.clip_space}  {model.embedding_dim} dimensions")
    line(f"can         {', '.join(model.capabilities)}")
    if model.quality:
        line(f"quality     {model.quality} where nothing else is asked for")
    for caption in model.captions[:EXAMPLES]:
        line(f"{'such as' if caption is model.captions[0] else '':<11} {caption}")
    for stage in model.stages:
        size = f"  {stage.image_size} px" if stage.image_size else ""
        size += f", or {stage.sizes}" if stage.sizes else ""
        fast = f"; fast {settings(stage.fast)}" if stage.fast else ""
        version = f"  version {stage.version[:12]}" if stage.version else ""
        told = f"{stage.parameters:,} parameters{size}{version}  {settings(stage.defaults)}{fast}"
        line(f"{stage.stage:<11} {told}".rstrip())
    for one in model.replicas:
        if not one.served:
            line(f"left out    {one.count} of {one.stage} version {one.version[:12]}")
    return 0
