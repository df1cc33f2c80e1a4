"""Configs of schedulers, and diffusers' classes for them."""

from __future__ import annotations

import json
from typing import Any


def written(scheduler: Any) -> dict[str, object]:
    """What its ``scheduler_config.json`` says."""
    config: dict[str, object] = json.loads(scheduler.to_json_string())
    return config
