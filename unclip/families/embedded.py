"""Checkpoints that describe themselves in an ``unclip.json``, as the embedded one and what ``training/`` makes do."""

from __future__ import annotations

from unclip.families.family import Family

EMBEDDED = Family("unclip", ())
