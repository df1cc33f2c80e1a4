"""How far a request has come, as one bar."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from tqdm import tqdm

from unclip.client import Edit, Event, Generate, GeneratedImage, Progress, Request, StageName
from unclip.client.values import picture_count

# Rough shares of the time: what a picture's own stages take, and what is done once for all pictures of a request.
OWN: dict[StageName, float] = {"prior": 15, "decoder": 45, "upsampler": 40}
SHARED: dict[StageName, float] = {"encoder": 1, "invert": 20}


class Bar:
    """Shows the events of one request. Without a terminal on standard error it shows nothing."""

    def __init__(self, request: Request, label: str) -> None:
        # The prior imagines them, unless an embedding was given, and nothing is inverted.
        captioned = isinstance(request, Edit) or (isinstance(request, Generate) and request.embedding is None)
        self._own = {stage: share for stage, share in OWN.items() if stage != "prior" or captioned}
        self._done: dict[tuple[StageName, int], float] = {}
        shared = sum(share for stage, share in SHARED.items() if stage != "invert" or not captioned)
        self._total = shared + sum(self._own.values()) * picture_count(request)
        self._bar = tqdm(
            total=self._total,
            desc=label,
            disable=None,
            file=sys.stderr,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} {postfix}",
        )

    @property
    def fraction(self) -> float:
        """How much of the work is done, 0 to 1."""
        return sum(fraction * self._share(stage) for (stage, _), fraction in self._done.items()) / self._total

    def watch(self, events: Iterable[Event]) -> Iterator[GeneratedImage]:
        """Reads ``events`` to their end; gives the pictures among them as they come."""
        for event in events:
            self.show(event)
            if isinstance(event, GeneratedImage):
                yield event

    def show(self, event: Event) -> None:
        """Moves the bar to where ``event`` says the work is."""
        if isinstance(event, Progress):
            where = f"queue {event.queue_position}" if event.queue_position else f"{event.step}/{event.of}"
            self._bar.set_postfix_str(f"{event.stage} {where}", refresh=False)
            self._reach(event.stage, event.image_index, event.step / max(event.of, 1))
        elif isinstance(event, GeneratedImage):  # its last progress may have been dropped
            for stage in self._own:
                self._reach(stage, event.image_index, 1.0)

    def _reach(self, stage: StageName, image_index: int, fraction: float) -> None:
        """``stage`` has done ``fraction`` of its work on one picture; the bar never goes back."""
        before = self._done.get((stage, image_index), 0.0)
        if fraction > before:
            self._done[stage, image_index] = fraction
            self._bar.update((fraction - before) * self._share(stage))

    def _share(self, stage: StageName) -> float:
        """How much of the bar ``stage`` stands for."""
        return self._own.get(stage) or SHARED.get(stage, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
