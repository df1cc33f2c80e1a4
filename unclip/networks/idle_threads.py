"""How long idle threads of OpenMP spin. Apart from all else, since it must be said before torch is first imported."""

from __future__ import annotations

import os

# Rounds that libgomp's idle workers spin before they sleep: long enough for the next operation of a step to find them
# awake, and 30 times shorter than its default, in which they keep cores from the event loop and the next stage.
SPIN = "10000"


def spin_briefly() -> None:
    """Has the workers of this process sleep sooner, unless the environment says how long they spin."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
