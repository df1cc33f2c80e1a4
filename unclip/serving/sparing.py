"""How many lines of one kind a log gets, and what it gets of those that others wrote.

Own lines hold nothing that a caller sent but the names in its request id, trace and key. Other packages know no such
rule: gRPC logs metadata that are no UTF-8, and with them keys; asyncio logs whatever an exception says. Of their lines
only the template is kept, and where it was filled in. What an exception says is nobody's to vouch for, as it may come
from a tokenizer that quotes its caption: of failures a log gets types and places, whoever logs them.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

OWN = ("unclip", "gateway", "encoder_svc", "prior_svc", "decoder_svc", "__main__")
REMEMBERED = 4096  # kinds of lines
INNERMOST = 50  # places of a traceback


@dataclass(frozen=True)
class RateLimit:
    """Lines a second on average, and how many at once."""

    per_second: float
    burst: float


OTHERS, FAILURES, CALLS = RateLimit(1, 10), RateLimit(1, 30), RateLimit(100, 500)


def is_own(record: logging.LogRecord) -> bool:
    """Whether this project's code wrote it."""
    return record.name.partition(".")[0] in OWN


def kind(record: logging.LogRecord) -> tuple[str, RateLimit] | None:
    """What a record is counted with, and how much of that a log takes; None: all of it.

    Calls are counted by connection, others by the logger: what they say may be made up by a caller.
    """
    if not is_own(record):
        return record.name, OTHERS
    if peer := getattr(record, "peer", ""):
        return f"{record.name} {peer}", CALLS
    return (record.name, FAILURES) if record.levelno >= logging.WARNING else None


class LogLimiter:
    """A token bucket for each kind of line. clock: gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: OrderedDict[str, list[float]] = OrderedDict()  # lines that may pass, as of when, lines left out

    def passes(self, record: logging.LogRecord) -> int | None:
        """None for a record that is left out, else how many of its kind were left out before it."""
        counted = kind(record)
        if counted is None:
            return 0
        (name, limit), now = counted, self._clock()
        found = self._kinds.setdefault(name, [limit.burst, now, 0])
        self._kinds.move_to_end(name)
        while len(self._kinds) > REMEMBERED:
            self._kinds.popitem(last=False)
        found[0], found[1] = min(limit.burst, found[0] + (now - found[1]) * limit.per_second), now
        if found[0] < 1:
            found[2] += 1
            return None
        left_out, found[2] = int(found[2]), 0
        found[0] -= 1
        return left_out


def redacted(record: logging.LogRecord) -> logging.LogRecord:
    """``record``, of which nothing is left that may be a caller's: no texts of exceptions, whose types and places
    become its ``exc_text``; and where others wrote it, no values, and no message that may have its values in it
    already."""
    own, error = is_own(record), record.exc_info[1] if record.exc_info else None
    if own and error is None:
        return record
    copy = logging.makeLogRecord(vars(record))
    copy.exc_info, copy.exc_text = None, None
    if own:
        copy.exc_text = "\n".join(traceback_without_texts(error))
        return copy
    said = str(record.msg) if record.args and isinstance(record.msg, str) else "a message that may hold values"
    copy.msg = " ".join([f"{Path(record.pathname).name}:{record.lineno}: {said}", *causes(error)])
    copy.args, copy.stack_info = (), None
    return copy


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, then those that led to it, each once."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def causes(error: BaseException | None) -> Iterator[str]:
    """An exception without what it says: its type and where it came from, then those that led to it."""
    for each in chain(error):
        frames = traceback.extract_tb(each.__traceback__)[-3:]
        yield " < ".join([type(each).__name__, *(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))])


def traceback_without_texts(error: BaseException | None) -> Iterator[str]:
    """The same at length, in lines: of each exception its type, then its places as ``file:line function``, the
    innermost `INNERMOST` of them, the innermost last."""
    for number, each in enumerate(chain(error)):
        kind = type(each)
        yield f"{'because of ' if number else ''}{kind.__module__}.{kind.__qualname__}, at"
        for frame in traceback.extract_tb(each.__traceback__)[-INNERMOST:]:
            yield f"  {frame.filename}:{frame.lineno} {frame.name}"
