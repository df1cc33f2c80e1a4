"""The stubbed stack for tests without asyncio: it lives on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from unclip.options import ServiceName
from unclip.testing.model import StubModel
from unclip.testing.stack import StubStack

PATIENCE_S = 30.0

Result = TypeVar("Result")


class LoopThread:
    """An event loop in a thread, for as long as the context lasts."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="unclip-testing", daemon=True)
        self._thread.start()
        return self

    def run(self, work: Coroutine[Any, Any, Result], timeout: float = PATIENCE_S) -> Result:
        """The result of ``work``, run on the loop. Raises TimeoutError after ``timeout`` seconds."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.get_loop().run_forever()


class BlockingStubStack:
    """`StubStack` for threads: ``with BlockingStubStack() as stack``, then call ``stack.address``.

    The stubs are ``encoder``, ``prior``, ``decoder`` and ``upsampler``; their knobs and records may be used from
    any thread.
    """

    def __init__(
        self, model: StubModel | None = None, *, patience: float = 5.0, default_deadline: float = 60.0
    ) -> None:
        """As for `StubStack`."""
        self._stack = StubStack(model, patience=patience, default_deadline=default_deadline)
        self._thread = LoopThread()
        self.encoder, self.prior = self._stack.encoder, self._stack.prior
        self.decoder, self.upsampler = self._stack.decoder, self._stack.upsampler

    @property
    def address(self) -> str:
        """``host:port`` of the gateway."""
        return self._stack.address

    @property
    def addresses(self) -> dict[ServiceName, str]:
        """``host:port`` of each stage."""
        return dict(self._stack.stages.addresses)

    def start_stages(self, *stages: ServiceName) -> None:
        """Brings stopped ``stages`` back on their old ports, all when none is named."""
        self._thread.run(self._stack.stages.start(*stages))

    def stop_stages(self, *stages: ServiceName) -> None:
        """Takes ``stages`` away at once, all when none is named; calls under way break off."""
        self._thread.run(self._stack.stages.stop(*stages))

    def __enter__(self) -> Self:
        self._thread.__enter__()
        try:
            self._thread.run(self._stack.__aenter__())
        except BaseException as error:
            self._thread.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.run(self._stack.__aexit__(kind, error, trace))
        finally:
            self._thread.__exit__(kind, error, trace)
