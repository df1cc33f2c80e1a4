"""Lets in calls of the gateway that show an API key, within the limits of the key."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager

from unclip.errors import Overloaded, Unauthenticated
from unclip.serving import clients
from unclip.serving.files import Watched
from unclip.serving.handlers import Context
from unclip.serving.keys import Key, digest, parse_keys
from unclip.serving.metadata import AUTHORIZATION, received
from unclip.serving.metrics import KEY_REFUSALS

RETRY_S = 1.0  # when all of a key's calls are under way, one may be over by then


class KeyUsage:
    """One key against its limits: a token bucket that holds a minute's worth, and the calls that run."""

    def __init__(self, key: Key, now: float) -> None:
        self._tokens, self._since, self.running = float(key.requests_per_minute), now, 0

    def wait(self, key: Key, now: float) -> float:
        """Seconds until the rate allows a call, 0 when it does now."""
        per_second = key.requests_per_minute / 60
        self._tokens = min(float(key.requests_per_minute), self._tokens + (now - self._since) * per_second)
        self._since = now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / per_second

    def spend(self) -> None:
        """Takes one call's token."""
        self._tokens -= 1


class KeyGuard:
    """Lets in calls with ``authorization: Bearer <key>``, within the key's limits. For use on one event loop.

    The key's id becomes the client that fair shares are kept by, whatever the caller names itself.
    """

    def __init__(self, file: str) -> None:
        """Raises ConfigurationError when the file cannot be read or makes no sense."""
        self._keys = Watched([file], parse_keys)
        self._usages: dict[str, KeyUsage] = {}

    @contextmanager
    def admit(self, context: Context) -> Iterator[None]:
        """Raises Unauthenticated without a key that is known and in force, Overloaded beyond its limits."""
        key = self._known(context)
        usage = self._usages.setdefault(key.id, KeyUsage(key, time.monotonic()))
        if usage.running >= key.concurrency:
            KEY_REFUSALS.labels(key.id, "CONCURRENCY_LIMITED").inc()
            message = f"key {key.id}: {usage.running} calls are under way, limit {key.concurrency}"
            raise Overloaded(message, RETRY_S, "CONCURRENCY_LIMITED")
        if wait := usage.wait(key, time.monotonic()):
            KEY_REFUSALS.labels(key.id, "RATE_LIMITED").inc()
            message = f"key {key.id}: over its rate, limit {key.requests_per_minute} a minute"
            raise Overloaded(message, wait, "RATE_LIMITED")
        usage.spend()
        usage.running += 1
        clients.authenticated.set(key.id)
        try:
            yield
        finally:
            usage.running -= 1

    def _known(self, context: Context) -> Key:
        scheme, _, secret = received(context).get(AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            KEY_REFUSALS.labels("", "CREDENTIALS_MISSING").inc()
            raise Unauthenticated("an API key is needed: authorization: Bearer <key>", "CREDENTIALS_MISSING")
        shown, found = digest(secret), None
        for key in self._keys.value:  # all of them, each in constant time: how long it takes gives nothing away
            if hmac.compare_digest(key.sha256, shown):
                found = key
        if found is None:
            KEY_REFUSALS.labels("", "CREDENTIALS_INVALID").inc()
            raise Unauthenticated("this API key is not known", "CREDENTIALS_INVALID")
        if time.time() >= found.expires:
            KEY_REFUSALS.labels(found.id, "CREDENTIALS_EXPIRED").inc()
            raise Unauthenticated(f"key {found.id} has expired", "CREDENTIALS_EXPIRED")
        return found
