"""What the engine moves: a job takes a known number of steps, one per tick, together with others of its lane."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")
TIME_SLICE = 32  # ticks for which a job of a later stage goes first, and after which any makes room for one that waits


class Job(Generic[Result]):
    """One row's work. Subclasses say which lane it is in and what its result is; a `Program` moves it.

    length: ticks from start to end. position: ticks done, kept by the engine. deadline: `time.monotonic` seconds.
    width: rows of a pass that it takes, larger ones counted as so many more. scale: pixels of a row, those of the
    model's usual pictures counted as 1. places: what it takes of its engine's until it ends. priority: how far down a
    picture's way its stage is, 0 where it has just begun.
    future: the result, or the error that ended the job. notify: called on the engine's thread after each tick and
    when the job's place in the queue changes; must not block.
    """

    def __init__(self, length: int, deadline: float = float("inf")) -> None:
        self.length = length
        self.position = 0
        self.queue_position = 0
        self.deadline = deadline
        self.width = 1.0
        self.scale = 1.0
        self.places = 1
        self.priority = 0
        self.future: Future[Result] = Future()
        self.notify: Callable[[Job[Result]], None] | None = None
        self.cancelled = False
        self.served = 0  # number of the tick that last moved it; the least recently served goes first
        self.client = ""  # whose it is, for fair shares; "" is nobody's in particular
        self.request: Hashable = None  # of which it is a part: a name, or something of its call's own
        self.queued = 0.0  # when it was submitted, `time.monotonic` seconds; so are the next two
        self.began = 0.0  # when it was first admitted
        self.ended = 0.0
        self.rows = 0  # of all passes it was in, its own included
        self.turn = 0  # ticks since it was last admitted
        self.device = 0.0  # seconds of the device, its rows' share of the ticks it was in
        self.busy = 0.0  # seconds of those ticks

    @property
    def lane(self) -> Hashable:
        """Jobs of equal lanes can share a tick: same program, same shapes."""
        raise NotImplementedError

    @property
    def program(self) -> str:
        """Name of the program of the step to come."""
        lane = self.lane
        return str(lane[0]) if isinstance(lane, tuple) and lane else ""

    @property
    def rank(self) -> int:
        """Higher goes first: work of later stages is nearer to being of use. A long one has that for a `TIME_SLICE`."""
        return self.priority if self.position < TIME_SLICE else 0

    def result(self) -> Result:
        """The result, once position is length. Called on the engine's thread, where alone anything leaves the device:
        a thread of its own that waited for that would keep the interpreter from the others."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Asks the engine to drop the job before its next step. Any thread may call it."""
        self.cancelled = True

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() > self.deadline


J_contra = TypeVar("J_contra", contravariant=True)


class Program(Protocol[J_contra]):
    """Moves jobs of one lane by one step.

    All or nothing: a tick that raises has changed no job, so the engine can retry the jobs one by one.
    """

    def tick(self, jobs: Sequence[J_contra]) -> None:
        """Moves every job by one step; the engine counts positions afterwards."""
        ...
