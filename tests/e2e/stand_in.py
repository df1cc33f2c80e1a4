"""Starts the stub of a service in its place, where the service itself would only cost time: told what it would be."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from unclip.serving.server import main
from unclip.testing.settings import Settings

STAGES = {"decode": "decoder", "upsample": "upsampler", "decode,upsample": "decoder,upsampler"}


def run(module: str, arguments: Sequence[str]) -> int:
    """As ``python -m module arguments``, whose variables are read as well."""
    asked = os.environ.pop("UNCLIP_STAGES", "decode,upsample")
    stages = STAGES[asked] if module == "decoder_svc" else module.removesuffix("_svc")
    return main("unclip.testing", Settings, ["--stages", stages, "--step-seconds", "0", *arguments])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
