"""Commands that handle weights: they run in a process of their own, since this one has no torch."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence


def convert(options: argparse.Namespace) -> None:
    """Converts a checkpoint's weights to safetensors."""
    extra = ["--image-encoder", options.image_encoder] if options.image_encoder else []
    run("unclip.checkpoints.convert", [options.source, str(options.target), *extra])


def export_triton(options: argparse.Namespace) -> None:
    """Writes a Triton model repository."""
    run("unclip.triton.export", [options.checkpoint, str(options.repository), *options.options])


def run(module: str, arguments: Sequence[str]) -> None:
    """Runs ``python -m module``, and ends this process as it ended when it failed."""
    status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if status:
        sys.exit(status)
