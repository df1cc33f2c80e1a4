"""Importing much at once, in less time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Nothing is looked for to be collected while what is inside runs, nor ever among what it leaves behind.

    Imports make objects by the hundred thousand that stay for good. Python, which goes through them again and again
    meanwhile, spends a quarter of the time of importing torch and diffusers on that; afterwards each full collection
    would have gone through them too.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
