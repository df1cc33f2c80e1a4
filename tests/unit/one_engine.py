"""Models of several stages on one engine, for tests of what they make together."""

from __future__ import annotations

from typing import Any

import torch

from encoder_svc.encoder import Encoder
from unclip.engine.engine import Engine
from unclip.engine.job import Job
from unclip.wire.embeddings import TextEncoding


class OneEngine:
    """encoder: reads captions; ``models``: the other stages. Close ``engine`` in the end."""

    def __init__(self, encoder: Encoder, *models: Any) -> None:
        self.encoder = encoder
        self.engine = Engine({lane: program for each in (encoder, *models) for lane, program in each.programs.items()})

    def run(self, *jobs: Job[torch.Tensor]) -> list[torch.Tensor]:
        """What they come to, in their order."""
        with self.engine.reserve(len(jobs)) as room:
            for job in jobs:
                room.submit(job)
        return [job.future.result(60) for job in jobs]

    def read(self, caption: str) -> TextEncoding:
        """A caption's encoding."""
        tokens = self.encoder.tokenize([caption])
        return self.encoder.text_encodings(self.run(*self.encoder.text_jobs(tokens)), tokens)[0]
