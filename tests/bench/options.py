"""What every benchmark is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.bench.intervals import Precision
from unclip.checkpoints.manifest import MANIFEST
from unclip.errors import ConfigurationError
from unclip.local.stack import find_checkpoint


@dataclass(frozen=True)
class Options:
    """quick: a few seconds each, to see that it runs; its figures mean nothing. threads: CPU threads of every
    process with networks, ours and those it is compared with. scratch: a folder for files that nobody keeps. chosen:
    the checkpoint asked for. family: of the benchmarks at full size. limit_s: seconds that a compared pair may be
    repeated for. out: folder of what is kept."""

    quick: bool
    threads: int
    scratch: Path
    chosen: Path | None = None
    family: str = "karlo"
    limit_s: float = Precision.limit_s
    out: Path = Path("out/bench")

    @property
    def precision(self) -> Precision:
        """How well the ratio of a compared pair is to be known."""
        return Precision(least=0, limit_s=0.0) if self.quick else Precision(limit_s=self.limit_s)

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint to measure: the one asked for, else the embedded one; a tiny random one when in a hurry.

        Raises:
            ConfigurationError: there is none.
        """
        if self.chosen is None and self.quick:
            from tests.tiny import make_tiny_checkpoint

            return make_tiny_checkpoint(self.scratch / "tiny")
        folder = self.chosen or find_checkpoint()
        if not (folder / MANIFEST).exists() and not (folder / "decoder").is_dir():
            raise ConfigurationError(f"{folder} holds no checkpoint: name one with --checkpoint, or try --quick")
        return folder
