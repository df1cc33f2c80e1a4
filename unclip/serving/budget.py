"""An amount that the callers of a process share, and of which none may have too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from unclip.errors import Overloaded
from unclip.serving.metrics import REFUSALS


class Budget:
    """At most ``limit`` of something for all clients together, and half of it for each; never waited for.

    stage, name: of whom and of what, in errors and metrics. For one thread.
    """

    def __init__(self, stage: str, name: str, limit: int) -> None:
        self.limit, self.share = limit, limit // 2
        self._stage, self._name = stage, name
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """What all clients have."""
        return self._taken.total()

    def taken_by(self, client: str) -> int:
        """What ``client`` has."""
        return self._taken[client]

    def take(self, amount: int, client: str, retry_after: float = 1.0) -> None:
        """Gives ``amount`` to ``client``. Who has nothing yet may exceed its share, not the limit.

        Raises:
            Overloaded: it is not there; with ``retry_after`` seconds.
        """
        mine = self._taken[client]
        if amount and self.taken + amount > self.limit:
            REFUSALS.labels(self._stage, self._name).inc()
            message = f"{self._stage}: {self.taken} of {self.limit} {self._name} are taken; this request needs {amount}"
            raise Overloaded(message, retry_after, self._name.upper())
        if amount and mine and mine + amount > self.share:
            REFUSALS.labels(self._stage, f"client_{self._name}").inc()
            message = f"{self._stage}: this client has {mine} {self._name}, its share is {self.share}; "
            raise Overloaded(f"{message}this request needs {amount}", retry_after, "CLIENT_SHARE")
        self._taken[client] += amount

    def give_back(self, amount: int, client: str) -> None:
        """Takes ``amount`` back from ``client``."""
        self._taken[client] -= amount
        if self._taken[client] <= 0:
            del self._taken[client]

    @contextmanager
    def held(self, amount: int, client: str, retry_after: float = 1.0) -> Iterator[None]:
        """``amount`` is the client's while the body runs. Raises Overloaded."""
        self.take(amount, client, retry_after)
        try:
            yield
        finally:
            self.give_back(amount, client)
