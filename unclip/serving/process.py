"""The life of a process that serves, whatever it speaks: its settings, its log, its exit status, its end.

And the file that says where it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from unclip.errors import EXIT_FAILED, EXIT_MISCONFIGURED, CheckpointError, ConfigurationError, PreconditionFailed
from unclip.serving.logs import logging_to, stderr_that_never_waits
from unclip.serving.settings import ProcessSettings, parse

S = TypeVar("S", bound=ProcessSettings)
Result = TypeVar("Result")


def run_process(
    package: str, stage: str, settings_class: type[S], arguments: Sequence[str] | None, run: Callable[[S], int]
) -> int:
    """What ``run`` makes of the settings of ``package``; the result is the exit status.

    0: stopped on request. 1: failed while serving, or as nobody foresaw. 2: cannot start as configured; one line on
    standard error says why, if somebody reads it: a pipe that is full holds up no process, nor its end. stage: its name
    there. arguments: of the command line, this process's own when None.
    """
    with stderr_that_never_waits() as writer:
        try:
            settings = parse(settings_class, sys.argv[1:] if arguments is None else arguments, package)
            with logging_to(writer, settings.log_level, settings.log_format):
                return run(settings)
        except (CheckpointError, ConfigurationError, PreconditionFailed) as error:
            print(f"{stage}: {error}", file=sys.stderr)
            return EXIT_MISCONFIGURED
        except Exception:
            traceback.print_exc()
            return EXIT_FAILED


def told_to_stop() -> asyncio.Event:
    """Set once SIGTERM or SIGINT comes."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def result_unless_stopped(stopped: asyncio.Event, work: Awaitable[Result]) -> Result | None:
    """The result of ``work``, or None when ``stopped`` comes first."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for pending in (task, stop):
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await pending


async def wait_for_any(*events: asyncio.Event) -> None:
    """Returns once one of ``events`` is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None] | None) -> AsyncIterator[None]:
    """``work`` goes on beside what is inside, and is ended with it."""
    task = asyncio.ensure_future(work) if work else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.wait([task])


def write_address(file: str, address: str) -> None:
    """Writes ``address`` into ``file``, if one is named. It appears whole or not at all: others poll it."""
    if file:
        part = Path(f"{file}.part")
        part.write_text(address + "\n")
        part.replace(file)


def remove_address(file: str) -> None:
    """Takes it away."""
    if file:
        Path(file).unlink(missing_ok=True)
