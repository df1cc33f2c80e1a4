"""Knobs that make a stub misbehave."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from unclip.options import ROOMS, Room, ServiceName


@dataclass
class Faults:
    """How a stub shall behave; change it at any time, from any thread, for the calls and steps that follow.

    step_seconds: what a step takes; encoding is one step. Work that would outlast its deadline, alone or with all
    that goes before it, is not begun.
    capacity, queue_limit: samples that run and that wait; a caption, a picture and a candidate are a sample each.
    Beyond both, calls get RESOURCE_EXHAUSTED with a RetryInfo of ``retry_after`` seconds. max_batch: how many of them
    it says that a pass has at most.
    fair_shares: whether one client may have at most half of that, as services do; it is one that names itself in
    ``x-unclip-client`` metadata, or a host.
    refuse: what every call gets until this is None again.
    fail: how many calls to come get ``failure``; those after them are served.
    hang: calls take no first step while this is set, until their deadline or their caller ends them.
    break_streams: how many streams to come break off after ``break_after`` steps (or all, if they have fewer), with
    ``breakage``, or, where ``break_quietly`` is set, as if they were complete.
    lacks: capabilities, such as "invert", that the stub does not report and refuses with FAILED_PRECONDITION.

    ``refuse``, ``failure`` and ``breakage`` are errors of `unclip.errors`, None of the latter two stands for
    UNAVAILABLE; any other exception becomes INTERNAL.
    """

    step_seconds: float = 0.0
    capacity: int = Room.capacity
    queue_limit: int = Room.queue_limit
    max_batch: int = Room.max_batch
    retry_after: float = 1.0
    fair_shares: bool = True
    refuse: Exception | None = None
    fail: int = 0
    failure: Exception | None = None
    hang: bool = False
    break_streams: int = 0
    break_after: int = 2
    breakage: Exception | None = None
    break_quietly: bool = False
    lacks: Collection[str] = ()

    @classmethod
    def none(cls, stage: ServiceName) -> Faults:
        """No misbehaviour, and as much room as the real ``stage`` has by default."""
        return cls(**asdict(ROOMS[stage]))

    @property
    def room(self) -> Room:
        """How much is taken on."""
        return Room(self.capacity, self.queue_limit, self.max_batch)
